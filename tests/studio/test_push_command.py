"""`kubectl atelier dataset push` and `base-model push` as a person types them, against a real store."""

from __future__ import annotations

import copy
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import OwnerManifest
from atelier_materials.dataset.sources import UploadedDataset
from atelier_materials.store.documents import read_document
from atelier_materials.store.protocol import hash_bytes
from atelier_studio.edges.dataset_push import push_files
from atelier_studio.edges.upload import PART_BYTES, WHOLE_BYTES, Upload, list_folder
from plugin import SCRIPT, Answer, Terminal
from pushed_folders import NAMESPACE, CountingMeter, open_bucket, write_files
from recording_proxy import PHASES, RecordingProxy, choose_moment
from s3_servers import RunningServer
from stand_in_api import StandInApi, describe_secret

FILES = {"a.png": b"picture a", "a.txt": b"a caption", "sub/b.png": b"picture b"}
LAYOUT = NamespaceLayout(NAMESPACE, "atelier")


@dataclass
class PushDesk:
    """A terminal, a store behind a proxy, and what stands in for the cluster."""

    terminal: Terminal
    api: StandInApi
    proxy: RecordingProxy
    bucket: object

    def type(self, *words: str) -> Answer:
        return self.terminal.type(*words)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        environment = {"KUBECONFIG": str(self.terminal.kubeconfig), "HOME": str(self.terminal.folder), "PATH": ""}
        return subprocess.Popen([SCRIPT, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    @property
    def store(self):
        return open_bucket(self.bucket).store

    def listed(self) -> dict[str, bytes]:
        """Return the files of the dataset as an inspection would see them."""
        found = UploadedDataset(self.store, LAYOUT, "pictures").files()
        return {file.path: self.store.read(file.key) for file in found}


@contextmanager
def open_desk(server: RunningServer, folder: Path) -> Iterator[PushDesk]:
    """Open a namespace that nobody has used."""
    bucket = server.make_bucket()
    with RecordingProxy(server.endpoint) as proxy, StandInApi(describe_secret(bucket, proxy.endpoint)) as api:
        yield PushDesk(Terminal(folder, api.write_kubeconfig(folder / "kubeconfig")), api, proxy, bucket)


@pytest.fixture
def desk(rclone: RunningServer, tmp_path: Path) -> Iterator[PushDesk]:
    """A namespace with a store."""
    with open_desk(rclone, tmp_path) as opened:
        yield opened


@pytest.fixture
def any_desk(any_server: RunningServer, tmp_path: Path) -> Iterator[PushDesk]:
    """A namespace with a store, on each maker's server."""
    with open_desk(any_server, tmp_path) as opened:
        yield opened


def test_first_push(desk: PushDesk, tmp_path: Path) -> None:
    """A folder becomes a Dataset of its name: described, its files readable under their paths, the store claimed."""
    folder = write_files(tmp_path / "pictures", {**FILES, "notes.doc": b"x", ".hidden.png": b"x"})
    answer = desk.type("dataset", "push", str(folder), "--description", "Teapots")
    assert answer.exit_code == 0, answer.everything
    assert desk.listed() == FILES
    assert desk.api.datasets["pictures"]["spec"] == {"description": "Teapots", "source": {"upload": {}}}
    owner = read_document(desk.store, LAYOUT.owner, OwnerManifest)
    assert (owner.cluster_uid, owner.namespace_uid) == ("cluster-1", "namespace-1")
    assert "1 of no use to a dataset (notes.doc)" in answer.err


def test_the_layout_that_counts_is_said(desk: PushDesk, tmp_path: Path) -> None:
    """A layout that was named is said to be read, now and at the next push; what looks like another one is not."""
    folder = write_files(tmp_path / "pictures", {"10_cup/a.png": b"picture a"})
    assert "read as Kohya" in desk.type("dataset", "push", str(folder), "--dry-run").err
    assert "read as Plain" in desk.type("dataset", "push", str(folder), "--layout", "Plain").err
    assert "read as Plain" in desk.type("dataset", "push", str(folder)).err


def test_second_push(desk: PushDesk, tmp_path: Path) -> None:
    """A folder that changed sends what changed, and asks for another look; `--replace` takes out what is gone."""
    folder = write_files(tmp_path / "pictures", FILES)
    desk.type("dataset", "push", str(folder))
    (folder / "a.txt").unlink()
    write_files(folder, {"c.png": b"picture c"})
    answer = desk.type("dataset", "push", str(folder), "--replace")
    assert answer.exit_code == 0, answer.everything
    assert desk.listed() == {"a.png": b"picture a", "c.png": b"picture c", "sub/b.png": b"picture b"}
    assert names.ANNOTATION_INSPECT_REQUESTED_AT in desk.api.datasets["pictures"]["metadata"]["annotations"]
    assert desk.proxy.resent_bytes == 0


def test_deleted_dataset_does_not_come_back(desk: PushDesk, tmp_path: Path) -> None:
    """A push of a deleted Dataset's name begins anew: pictures that were pushed before are not trained on."""
    desk.type("dataset", "push", str(write_files(tmp_path / "pictures", FILES)))
    desk.api.datasets.clear()
    other = write_files(tmp_path / "other", {"c.png": b"picture c"})
    answer = desk.type("dataset", "push", str(other), "--name", "pictures")
    assert answer.exit_code == 0, answer.everything
    assert desk.listed() == {"c.png": b"picture c"}


def test_dataset_that_was_not_created(desk: PushDesk, tmp_path: Path) -> None:
    """A push killed before its Dataset was created is made up for by the same command, which sends nothing again."""
    folder = write_files(tmp_path / "pictures", FILES)
    desk.type("dataset", "push", str(folder))
    desk.api.datasets.clear()
    answer = desk.type("dataset", "push", str(folder))
    assert answer.exit_code == 0, answer.everything
    assert (list(desk.api.datasets), desk.listed(), desk.proxy.resent_bytes) == (["pictures"], FILES, 0)


def test_unusable_dataset_fails_in_json_too(desk: PushDesk, tmp_path: Path) -> None:
    """A script that reads the Dataset is told by the exit code, too, that nothing can be trained on it."""
    folder = write_files(tmp_path / "pictures", FILES)
    desk.type("dataset", "push", str(folder))
    body, later = desk.api.datasets["pictures"], "2100-01-01T00:00:00+00:00"
    body["metadata"]["annotations"] = {names.ANNOTATION_INSPECT_REQUESTED_AT: later}
    ready = {"type": "Ready", "status": "False", "reason": "Unusable", "message": "x", "lastTransitionTime": later}
    body["status"] = {"observedGeneration": 1, "lastHandledInspectAt": later, "conditions": [ready]}
    answer = desk.type("dataset", "push", str(folder), "--wait", "-o", "json")
    assert (answer.exit_code, json.loads(answer.out)["status"]) == (1, body["status"]), answer.everything


def test_request_that_was_lost(desk: PushDesk, tmp_path: Path) -> None:
    """A push killed before it asked for a look is made up for by the same command; one that asked is left alone."""
    folder = write_files(tmp_path / "pictures", FILES)
    desk.type("dataset", "push", str(folder))
    before = copy.deepcopy(desk.api.datasets)
    write_files(folder, {"c.png": b"picture c"})
    desk.type("dataset", "push", str(folder))
    desk.api.datasets = before
    asked = []
    for _ in range(2):
        assert desk.type("dataset", "push", str(folder)).exit_code == 0
        annotations = desk.api.datasets["pictures"]["metadata"].get("annotations", {})
        asked.append(annotations.get(names.ANNOTATION_INSPECT_REQUESTED_AT))
    assert asked[0] is not None
    assert asked[0] == asked[1]


def test_push_that_ends_later_counts_later(
    rclone: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push under way while another one ends comes after it, whichever began first."""
    opened = open_bucket(rclone.make_bucket())
    slow, fast = (Upload(opened, CountingMeter(), tmp_path / "notes") for _ in range(2))
    ours = list_folder(write_files(tmp_path / "ours", {"a.png": b"ours"}))
    theirs = list_folder(write_files(tmp_path / "theirs", {"a.png": b"theirs"}))
    send = slow.send_contents

    def send_while_another_ends(*arguments):
        push_files(fast, "pictures", theirs, datetime(2026, 11, 23, 11, tzinfo=UTC), lambda: False)
        return send(*arguments)

    monkeypatch.setattr(slow, "send_contents", send_while_another_ends)
    push_files(slow, "pictures", ours, datetime(2026, 11, 23, 10, tzinfo=UTC), lambda: False)
    (file,) = UploadedDataset(opened.store, opened.layout, "pictures").files()
    assert opened.store.read(file.key) == b"ours"


def test_whether_a_push_replaces_is_asked_last(rclone: RunningServer, tmp_path: Path) -> None:
    """Whether a Dataset is there already is asked once all contents are sent: somebody may have made it meanwhile."""
    opened = open_bucket(rclone.make_bucket())
    upload = Upload(opened, CountingMeter(), tmp_path / "notes")
    dataset = UploadedDataset(opened.store, opened.layout, "pictures")
    sent = []
    files = list_folder(write_files(tmp_path / "pictures", FILES))

    def ask() -> bool:
        sent.append(dataset.list_blobs())
        return True

    push_files(upload, "pictures", files, datetime(2026, 11, 23, tzinfo=UTC), ask)
    assert [len(blobs) for blobs in sent] == [len(FILES)]


def test_dry_run(desk: PushDesk, tmp_path: Path) -> None:
    """`--dry-run` says what would be sent, sends nothing and creates nothing."""
    answer = desk.type("dataset", "push", str(write_files(tmp_path / "pictures", FILES)), "--dry-run")
    assert answer.out == "would send 3 of 3 files, 27 bytes; nothing was sent\n"
    assert (desk.api.datasets, dict(desk.proxy.finished)) == ({}, {})


def test_killed_push(any_desk: PushDesk, tmp_path: Path) -> None:
    """A push killed at a random moment has published nothing, and the next resends nothing the store had."""
    desk, chance = any_desk, random.Random(5)
    files = {f"{number:03d}.png": chance.randbytes(20_000) for number in range(60)}
    folder = write_files(tmp_path / "pictures", files)
    killed = desk.start("dataset", "push", str(folder))
    desk.proxy.stop_at(*choose_moment(chance, len(files)), killed.kill)
    killed.communicate()
    assert killed.returncode == -9
    desk.proxy.wait_until_idle()
    assert not list(desk.store.list(LAYOUT.pushes("pictures")))
    answer = desk.type("dataset", "push", str(folder))
    assert answer.exit_code == 0, answer.everything
    assert (desk.proxy.resent_bytes, desk.listed()) == (0, files)


def test_interrupted_push(desk: PushDesk, tmp_path: Path) -> None:
    """Ctrl-C ends a push in order: its own exit code, one sentence, nothing published, and the next one goes on."""
    files = {f"{number:03d}.png": random.Random(number).randbytes(20_000) for number in range(60)}
    folder = write_files(tmp_path / "pictures", files)
    pushing = desk.start("dataset", "push", str(folder))
    desk.proxy.stop_at(20, PHASES[0], lambda: pushing.send_signal(signal.SIGINT))
    _, told = pushing.communicate()
    assert (pushing.returncode, told.count(b"Traceback")) == (130, 0), told.decode()
    assert b"what was sent stays, and the same command goes on from there" in told
    desk.proxy.wait_until_idle()
    assert not list(desk.store.list(LAYOUT.pushes("pictures")))
    assert desk.type("dataset", "push", str(folder)).exit_code == 0
    assert (desk.proxy.resent_bytes, desk.listed()) == (0, files)


def write_model(folder: Path, size: int) -> Path:
    """Write a diffusers folder whose denoiser has about so many bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + random.Random(size).randbytes(size)
    index = {"_class_name": "StableDiffusionPipeline"}
    files = {
        "model_index.json": json.dumps(index).encode(),
        "unet/diffusion_pytorch_model.safetensors": weights,
        "unet/config.json": b"{}",
        "safety_checker/pytorch_model.bin": b"pickle",
    }
    return write_files(folder, files)


def test_base_model(desk: PushDesk, tmp_path: Path) -> None:
    """A base model lies under its path without its pickles, and is listed; pushed again it is not sent again."""
    folder = write_model(tmp_path / "sd15", 1000)
    first, second = desk.type("base-model", "push", str(folder)), desk.type("base-model", "push", str(folder))
    assert (first.exit_code, second.exit_code) == (0, 0), first.everything + second.everything
    room = LAYOUT.base_model("base-models/sd15")
    found = {entry.key.removeprefix(f"{room}/"): desk.store.read(entry.key) for entry in desk.store.list(room)}
    pushed = ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors")
    assert found == {path: (folder / path).read_bytes() for path in pushed}
    assert "a base of StableDiffusion1" in first.out
    assert "sent 0 bytes" in second.err
    listed = desk.type("base-model", "list").out.splitlines()
    assert [line.split()[:2] for line in listed] == [["PATH", "FILES"], ["base-models/sd15", "3"]]


def test_base_model_is_not_overwritten(desk: PushDesk, tmp_path: Path) -> None:
    """Other contents under a base model's path are refused, where only bytes differ too; nothing is changed."""
    folder = write_model(tmp_path / "sd15", 1000)
    desk.type("base-model", "push", str(folder))
    before = {entry.key: entry.modified_seconds for entry in desk.store.list("")}
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    answer = desk.type("base-model", "push", str(folder))
    assert answer.exit_code == 2
    assert "base-models/sd15 holds another model already" in answer.err
    assert {entry.key: entry.modified_seconds for entry in desk.store.list("")} == before


def test_killed_base_model(any_desk: PushDesk, tmp_path: Path) -> None:
    """A base model's push killed amid its parts goes on with the parts that are missing."""
    desk = any_desk
    folder = write_model(tmp_path / "sd15", WHOLE_BYTES + 2 * PART_BYTES)
    killed = desk.start("base-model", "push", str(folder))
    desk.proxy.stop_at(3, PHASES[3], killed.kill)
    killed.communicate()
    assert killed.returncode == -9
    desk.proxy.wait_until_idle()
    answer = desk.type("base-model", "push", str(folder))
    assert answer.exit_code == 0, answer.everything
    assert desk.proxy.resent_bytes == 0
    key = LAYOUT.base_model("base-models/sd15") + "/unet/diffusion_pytorch_model.safetensors"
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert desk.store.digest(key) == hash_bytes(weights.read_bytes())
