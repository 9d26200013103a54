"""Whether a push is fast, and whether one that is killed at any moment resends nothing that the store had.

Fast: `kubectl atelier dataset push` of a thousand photographs against `rclone copy` of the same files into the same
`rclone serve s3`, whole commands with their start, in pairs whose order alternates. Killed: a real process is sent
SIGKILL at a random moment of a random request (before its body, amid it, before the server has it, before the answer),
then the same command runs to its end; a proxy remembers what the server had taken whole.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import ROOT, Figure, write_figures
from photographs import find_photographs

sys.path.insert(0, str(ROOT / "tests" / "support"))

from atelier_materials.store.bucket import BucketDescription
from atelier_playground.binaries import find_rclone
from atelier_playground.s3 import S3Server
from plugin import SCRIPT
from pushed_folders import open_bucket
from recording_proxy import RecordingProxy, choose_moment
from s3_servers import RunningServer, build_client, describe
from stand_in_api import StandInApi, describe_secret

PHOTOGRAPHS, PAIRS, KILLS = 1000, 5, 20
KILLED_FILES = 200
"""Of a push that is killed: what a kill does hangs on the moment, not on how many files wait."""
WANTED_RATIO = 0.7


def main() -> int:
    """Measure, print, keep; return 1 where a figure is not as wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pictures = sorted(find_photographs(PHOTOGRAPHS).glob("*.jpg"))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="atelier-push-", dir=memory) as folder:
        bench = Bench(Path(folder))
        with bench.serve():
            figures = {"load_before": os.getloadavg()[0], **bench.compare(pictures, asked.pairs)}
            figures |= bench.kill(pictures[:KILLED_FILES], asked.kills, random.Random(asked.seed))
            figures["load_after"] = os.getloadavg()[0]
    write_figures(
        "push", {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    )
    return int(float(figures["ratio"]) < WANTED_RATIO or figures["resent_bytes"] != 0)


class Bench:
    """A store, and two programs that send into it.

    Args:
        folder: for everything that is written; emptied by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = S3Server(folder / "buckets", folder / "rclone.log")

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Run the store."""
        self._server.start()
        self._running = RunningServer(
            "rclone", self._server.endpoint, build_client(describe(self._server.endpoint, "-"))
        )
        try:
            yield
        finally:
            self._server.stop()

    def compare(self, pictures: Sequence[Path], pairs: int) -> dict[str, Figure]:
        """Return how fast both programs are."""
        source = self._link(pictures, "photographs")
        size = sum(path.stat().st_size for path in pictures)
        ours, theirs = [], []
        for number in range(pairs):
            for send, seconds in ((self._push, ours), (self._copy, theirs))[:: 1 if number % 2 == 0 else -1]:
                seconds.append(self._time(send, source, len(pictures)))
            print(f"pair {number + 1} of {pairs}: {ours[-1]:.1f} s, rclone {theirs[-1]:.1f} s", flush=True)
        ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
        return {
            "files": len(pictures),
            "bytes": size,
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "push_seconds": statistics.median(ours),
            "push_megabytes_per_second": size / 1e6 / statistics.median(ours),
            "rclone_seconds": statistics.median(theirs),
            "rclone_megabytes_per_second": size / 1e6 / statistics.median(theirs),
        }

    def kill(self, pictures: Sequence[Path], kills: int, chance: random.Random) -> dict[str, Figure]:
        """Return what pushes that were killed once send twice."""
        source = self._link(pictures, "killed")
        finished_before = resent = 0
        for number in range(kills):
            bucket = self._running.make_bucket()
            with RecordingProxy(self._server.endpoint) as proxy, self._open(bucket, proxy.endpoint) as environment:
                process = subprocess.Popen(self._words(source), env=environment, **_SILENT)
                proxy.stop_at(*choose_moment(chance, len(pictures)), process.kill)
                process.wait()
                proxy.wait_until_idle()
                finished_before += sum(proxy.bytes.values())
                subprocess.run(self._words(source), env=environment, check=True, **_SILENT)
                resent += proxy.resent_bytes
            self._check(bucket, len(pictures))
            print(f"kill {number + 1} of {kills}: {resent} bytes resent", flush=True)
        return {"kills": kills, "finished_bytes_before_kills": finished_before, "resent_bytes": resent}

    def _time(self, send: Callable[[Path, BucketDescription], None], source: Path, files: int) -> float:
        bucket = self._running.make_bucket()
        began = time.perf_counter()
        send(source, bucket)
        seconds = time.perf_counter() - began
        self._check(bucket, files)
        return seconds

    def _push(self, source: Path, bucket: BucketDescription) -> None:
        with self._open(bucket, bucket.endpoint or "") as environment:
            subprocess.run(self._words(source), env=environment, check=True, **_SILENT)

    def _copy(self, source: Path, bucket: BucketDescription) -> None:
        remote = (
            f":s3,provider=Rclone,endpoint='{bucket.endpoint}',access_key_id={bucket.access_key_id},"
            f"secret_access_key={bucket.secret_access_key}:{bucket.bucket}/copied"
        )
        words = [find_rclone(), "copy", "--copy-links", "--config", "/dev/null", source, remote]
        subprocess.run(words, check=True, **_SILENT)

    def _words(self, source: Path) -> list[str | Path]:
        return [SCRIPT, "dataset", "push", source, "--no-wait"]

    @contextmanager
    def _open(self, bucket: BucketDescription, endpoint: str) -> Iterator[dict[str, str]]:
        """Yield the environment of a person whose namespace keeps its files in this bucket."""
        with StandInApi(describe_secret(bucket, endpoint)) as api:
            kubeconfig = api.write_kubeconfig(self.folder / "kubeconfig")
            yield {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(self.folder)}

    def _link(self, pictures: Sequence[Path], name: str) -> Path:
        """Return a folder of these pictures and nothing else."""
        folder = self.folder / name
        folder.mkdir()
        for picture in pictures:
            (folder / picture.name).symlink_to(picture)
        return folder

    def _check(self, bucket: BucketDescription, files: int) -> None:
        """Make sure that everything arrived, then free the room."""
        store = open_bucket(bucket).store
        blobs = [entry for entry in store.list("") if "/blobs/" in entry.key or entry.key.startswith("copied/")]
        assert len(blobs) == files, f"{len(blobs)} of {files} files arrived"
        shutil.rmtree(self._server.directory / bucket.bucket)


_SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

if __name__ == "__main__":
    sys.exit(main())
