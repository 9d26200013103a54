"""The owner of a cluster that stays up: a process left behind, found again, and ended.

What it needs to be found is in `owner.json` under the cluster's directory. The owner is the parent of everything the
cluster consists of, so ending it ends them all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from atelier_playground.binaries import Report
from atelier_playground.cluster import CHECKOUT, Cluster
from atelier_playground.errors import PlaygroundError, StartFailed
from atelier_playground.welcome import furnish

DIRECTORY = CHECKOUT / "build" / "playground"
NAMESPACE = "playground"
_POLL_SECONDS = 0.2
# A cold build of the control plane on a slow machine is inside this.
_START_SECONDS = 3600
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Owner:
    """Who owns a cluster, and how to reach it.

    Attributes:
        pid: the owner's process id.
        is_ready: whether the cluster is up; the other fields are empty before.
        kubeconfig: the administrator's kubeconfig.
        store: the S3 server's address.
    """

    pid: int
    is_ready: bool = False
    kubeconfig: str = ""
    store: str = ""


def find_owner() -> Owner | None:
    """Find the owner of the cluster that was left up; None when there is none any more."""
    try:
        owner = Owner(**json.loads((DIRECTORY / "owner.json").read_text()))
        command = Path(f"/proc/{owner.pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A process id is used again some day; only our own command line makes it our process.
    return owner if b"atelier_playground" in command else None


def bring_up(report: Report, with_operator: bool = True) -> Owner:
    """Leave a cluster up, or find the one that is.

    Args:
        report: called with one line for each step.
        with_operator: whether Atelier is installed on it.

    Raises:
        StartFailed: the cluster did not start; the message names the log.
    """
    found = find_owner()
    if found is not None and found.is_ready:
        return found
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    log = DIRECTORY / "owner.log"
    command = [sys.executable, "-m", "atelier_playground", "own", *([] if with_operator else ["--bare"])]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
    return _follow(log, process, report)


def _follow(log: Path, process: subprocess.Popen[bytes], report: Report) -> Owner:
    """Repeat what the owner says until the cluster is ready."""
    deadline = time.monotonic() + _START_SECONDS
    with log.open() as lines:
        while True:
            owner = find_owner()
            for line in lines.read().splitlines():
                report(line)
            if owner is not None and owner.is_ready:
                return owner
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartFailed(f"the cluster did not start: see {log}")
            time.sleep(_POLL_SECONDS)


def own(with_operator: bool) -> None:
    """Be the owner of a cluster until SIGTERM."""
    signal.signal(signal.SIGTERM, _leave)
    cluster = Cluster(directory=DIRECTORY, report=_print)
    _write(Owner(os.getpid()))
    try:
        with cluster:
            cluster.make_user_namespace(NAMESPACE)
            if with_operator:
                _print("operator: installing")
                cluster.install_operator()
            furnish(cluster, NAMESPACE)
            _write(Owner(os.getpid(), True, str(cluster.kubeconfig), cluster.store.endpoint))
            signal.pause()
    finally:
        (DIRECTORY / "owner.json").unlink()


def _leave(number: int, frame: object) -> None:
    del number, frame
    sys.exit(0)


def _print(line: str) -> None:
    print(line, flush=True)


def _write(owner: Owner) -> None:
    scratch = DIRECTORY / "owner.writing"
    scratch.write_text(json.dumps(asdict(owner)) + "\n")
    scratch.replace(DIRECTORY / "owner.json")


def take_down() -> bool:
    """End the cluster that was left up. Returns whether there was one.

    Raises:
        PlaygroundError: its owner does not end.
    """
    owner = find_owner()
    if owner is None:
        return False
    os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while find_owner() is not None:
        if time.monotonic() > deadline:
            raise PlaygroundError(f"process {owner.pid} has not ended: see {DIRECTORY / 'owner.log'}")
        time.sleep(_POLL_SECONDS)
    return True
