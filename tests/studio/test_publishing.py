"""Published models taken to a folder, and to InvokeAI: a fake server here, the real one in `make test-invokeai`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atelier_contract.names import KEY_INVOKEAI_TOKEN
from atelier_materials.errors import ObjectMissing
from atelier_materials.invokeai.errors import AccessRefused, ServerUnreachable
from atelier_materials.invokeai.installing import Became
from atelier_materials.store.bucket import BucketDescription
from atelier_studio.actions.publishing import FolderTarget, InvokeAiTarget, publish
from atelier_studio.errors import BadRequest, StudioError
from fake_invokeai import FakeInvokeAi
from published_run import PublishedRun, build_body
from publishing_behaviour import PublishingBehaviour, run, target, type_publish
from s3_servers import RunningServer, rclone

__all__ = ["rclone", "run", "target"]


@pytest.fixture
def bucket(rclone: RunningServer) -> BucketDescription:
    """An empty bucket."""
    return rclone.make_bucket()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeInvokeAi]:
    """A server with nothing installed."""
    server = FakeInvokeAi(tmp_path / "invokeai")
    yield server
    server.stop()


@pytest.fixture
def invokeai_url(fake: FakeInvokeAi) -> str:
    """Its address."""
    return fake.url


class TestIntoTheFake(PublishingBehaviour):
    """The fake server."""


def list_folder(folder: Path) -> dict[str, bytes]:
    """Return a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_gets_the_model_and_what_stands_beside_it(run: PublishedRun, tmp_path: Path) -> None:
    """Weights, sidecar and preview of both files are copied as they lie in the store."""
    (done,) = publish(run.opened, run.body, FolderTarget(tmp_path / "loras"))
    stored = {
        entry.key.rpartition("/")[2]: entry.key for entry in run.tenant.store.list(run.tenant.layout.key("models"))
    }
    assert done.became == Became.INSTALLED
    assert list_folder(tmp_path / "loras") == {name: run.tenant.store.read(key) for name, key in stored.items()}
    assert len(stored) == 6


def test_weights_that_nobody_recorded_are_not_handed_on(run: PublishedRun, tmp_path: Path) -> None:
    """Somebody's own copy beside the published weights is named: no file goes on whose sha256 nobody knows."""
    stem = run.find(".safetensors").removesuffix(".safetensors")
    run.tenant.store.write(f"{stem}-copy.safetensors", b"somebody's")
    with pytest.raises(ObjectMissing, match="lie 2 further weights files, and its checkpoint tells of 1"):
        publish(run.opened, run.body, FolderTarget(tmp_path / "loras"))


def test_a_folder_again_is_left_as_it_is(run: PublishedRun, tmp_path: Path) -> None:
    """The same again copies nothing; a sidecar that was edited in the folder stays."""
    folder = FolderTarget(tmp_path / "loras")
    publish(run.opened, run.body, folder)
    sidecar = next(path for path in folder.path.glob("*.json") if "-embedding" not in path.name)
    sidecar.write_text('{"notes": "mine"}')
    before = list_folder(folder.path)
    (again,) = publish(run.opened, run.body, folder)
    assert (again.became, list_folder(folder.path)) == (Became.ALREADY_THERE, before)


def test_what_is_missing_in_a_folder_is_brought(run: PublishedRun, tmp_path: Path) -> None:
    """A file that was deleted there is copied again, and named."""
    folder = FolderTarget(tmp_path / "loras")
    publish(run.opened, run.body, folder)
    gone = next(folder.path.glob("*.png"))
    gone.unlink()
    (again,) = publish(run.opened, run.body, folder)
    assert (again.became, again.detail) == (Became.UPDATED, gone.name)


def test_damaged_weights_reach_no_folder(run: PublishedRun, tmp_path: Path) -> None:
    """Weights whose sha256 is not the recorded one are refused, and nothing of that name is left."""
    key = run.find(".safetensors")
    run.tenant.store.delete([key])
    run.tenant.store.write(key, b"other weights")
    with pytest.raises(ObjectMissing, match="sha256 differs"):
        publish(run.opened, run.body, FolderTarget(tmp_path / "loras"))
    assert list((tmp_path / "loras").iterdir()) == []


def test_damaged_weights_reach_no_server(run: PublishedRun, target: InvokeAiTarget, fake: FakeInvokeAi) -> None:
    """A server of this machine is offered verified files alone."""
    key = run.find(".safetensors")
    run.tenant.store.delete([key])
    run.tenant.store.write(key, b"other weights")
    with pytest.raises(ObjectMissing, match="sha256 differs"):
        publish(run.opened, run.body, target)
    assert fake.models == {}


def test_another_file_of_that_name_is_not_overwritten(run: PublishedRun, tmp_path: Path) -> None:
    """A file of ours never replaces one that is something else."""
    name = run.find(".safetensors").rpartition("/")[2]
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / name).write_bytes(b"mine")
    with pytest.raises(StudioError, match="is there already and is something else"):
        publish(run.opened, run.body, FolderTarget(tmp_path / "loras"))
    assert (tmp_path / "loras" / name).read_bytes() == b"mine"


def test_nothing_published_yet(run: PublishedRun, tmp_path: Path) -> None:
    """A job that has published nothing is told what comes before."""
    with pytest.raises(BadRequest, match="select checkpoints and finalize first"):
        publish(run.opened, build_body([]), FolderTarget(tmp_path))


def test_a_model_that_is_there_is_not_fetched(
    run: PublishedRun, target: InvokeAiTarget, fake: FakeInvokeAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes are not fetched again to find that nothing is to be done."""
    publish(run.opened, run.body, target)
    fake.asked.clear()
    opened = run.opened
    monkeypatch.setattr(type(opened.store), "fetch", lambda *_: pytest.fail("fetched"))
    publish(opened, run.body, target)
    assert fake.changes == []


def test_nobody_answers(run: PublishedRun, target: InvokeAiTarget, fake: FakeInvokeAi) -> None:
    """A server that is down is told with its address."""
    fake.stop()
    with pytest.raises(ServerUnreachable, match=f"InvokeAI at {fake.url} does not answer"):
        publish(run.opened, run.body, target)


def test_the_token_is_sent_and_never_told(run: PublishedRun, target: InvokeAiTarget, fake: FakeInvokeAi) -> None:
    """A server with accounts takes the right token; a wrong one is in no sentence."""
    fake.token = "right"
    with pytest.raises(AccessRefused) as told:
        publish(run.opened, run.body, replace(target, token="wrong-token"))
    assert "wrong-token" not in str(told.value)
    done = publish(run.opened, run.body, replace(target, token="right"))
    assert {one.became for one in done} == {Became.INSTALLED}


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:9090", True),
        ("http://localhost:9090", True),
        ("http://[::1]:9090", True),
        ("http://invoke:9090", False),
        ("http://192.168.1.7:9090", False),
    ],
)
def test_which_servers_are_on_this_machine(url: str, is_here: bool) -> None:
    """Only a loopback address may see our files."""
    assert InvokeAiTarget(url).is_here is is_here


def test_the_installed_file_is_the_published_one(run: PublishedRun, target: InvokeAiTarget, fake: FakeInvokeAi) -> None:
    """What the server holds is byte for byte what lies in the store."""
    (concept, _) = publish(run.opened, run.body, target)
    sha256 = hashlib.sha256(run.tenant.store.read(run.find(".safetensors"))).hexdigest()
    assert fake.models[concept.key]["hash"] == f"blake3:{sha256}"  # the fake's own blake3 is sha256


def test_the_verb_copies_to_a_folder(run: PublishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--to FOLDER` prints a row for each model, and the files are there."""
    typed = type_publish(monkeypatch, run, "--to", str(tmp_path / "loras"))
    assert (typed.exit_code, typed.stdout.split()[:3]) == (0, ["MODEL", "BECAME", "DETAIL"])
    assert len(list((tmp_path / "loras").iterdir())) == 6


def test_the_verb_fails_where_a_model_is_refused(
    run: PublishedRun, fake: FakeInvokeAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused model is told in its row, and the exit code is 1."""
    monkeypatch.setattr(InvokeAiTarget, "is_here", False)
    fake.allows_private_addresses = False
    typed = type_publish(monkeypatch, run, "--to", "invokeai", "--url", fake.url)
    assert typed.exit_code == 1
    assert "Refused" in typed.stdout
    assert "allow_private_download_urls" in typed.stdout


def test_the_verb_uses_the_jobs_own_server_and_secret(
    run: PublishedRun, fake: FakeInvokeAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--url`, the server and the Secret of `spec.publish` are used."""
    fake.token = "right"
    run.body["spec"]["publish"] = {"invokeAI": {"url": fake.url, "credentialsSecretRef": {"name": "invoke"}}}
    secrets = {"invoke": {KEY_INVOKEAI_TOKEN: "right"}}
    typed = type_publish(monkeypatch, run, "--to", "invokeai", secrets=secrets)
    assert (typed.exit_code, typed.stdout.count("Installed")) == (0, 2)


def test_the_jobs_token_goes_to_no_other_server(
    run: PublishedRun, fake: FakeInvokeAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `--url` than the job's own gets no token of the job's Secret."""
    fake.token = "right"
    run.body["spec"]["publish"] = {"invokeAI": {"url": "http://own:9090", "credentialsSecretRef": {"name": "invoke"}}}
    secrets = {"invoke": {KEY_INVOKEAI_TOKEN: "right"}}
    typed = type_publish(monkeypatch, run, "--to", "invokeai", "--url", fake.url, secrets=secrets)
    assert isinstance(typed.exception, AccessRefused)
    assert "wants a token" in str(typed.exception)


@pytest.mark.parametrize("url", ["invoke:9090", "http://me:secret@invoke:9090", "ftp://invoke"])
def test_what_is_no_address_is_refused(run: PublishedRun, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """`--url` is an http or https address without a user's name."""
    typed = type_publish(monkeypatch, run, "--to", "invokeai", "--url", url)
    assert isinstance(typed.exception, BadRequest)
