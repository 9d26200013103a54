"""What is read from the store for a person: only what is whole and as recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import CheckpointManifest, ModelFile, SampleFile
from atelier_contract.reasons import Condition, State
from atelier_contract.training_job_status import ModelStatus, TrainingJobStatus
from atelier_materials.errors import ObjectMissing
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints
from atelier_materials.store.volume_store import VolumeStore
from atelier_studio.edges.results import (
    RunResults,
    download_checkpoint,
    download_verified,
    list_published,
    open_results,
)
from atelier_studio.errors import BadRequest, StudioError
from contract_examples import a_run
from operator_builders import a_condition

LAYOUT = NamespaceLayout("art")
IDENTITY = "1" * 64
RUN = LAYOUT.run("teapot", IDENTITY)
WEIGHTS = b"weights of a concept model"
SHA = hashlib.sha256(WEIGHTS).hexdigest()


def digest(data: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    """A store with one run: step 0 has two pictures, step 50 one and a model file."""
    store = VolumeStore(tmp_path / "store")
    store.write(RUN.manifest, a_run().model_copy(update={"prompts": ["a cup", "a jug"]}).to_bytes())
    write_checkpoint(store, 0, [b"cup 0", b"jug 0"], [])
    write_checkpoint(store, 50, [b"cup 50"], [("concept-model.safetensors", WEIGHTS)])
    return store


def write_checkpoint(store: VolumeStore, step: int, samples: list[bytes], files: list[tuple[str, bytes]]) -> None:
    """Write a whole checkpoint of attempt a."""
    for number, sample in enumerate(samples):
        store.write(RUN.checkpoint("a", step, "samples", f"{number}.png"), sample)
    for name, data in files:
        store.write(RUN.checkpoint("a", step, name), data)
    manifest = CheckpointManifest(
        step=step,
        run_identity=IDENTITY,
        type="ConceptModel",
        architecture="StableDiffusion1",
        files=[ModelFile(name=name, bytes=len(data), sha256=digest(data), role="ConceptModel") for name, data in files],
        samples=[
            SampleFile(name=f"samples/{number}.png", bytes=len(data), sha256=digest(data), prompt=number)
            for number, data in enumerate(samples)
        ],
    )
    store.write(RUN.checkpoint("a", step, "checkpoint.json"), manifest.to_bytes())


def open_teapot(store: VolumeStore) -> RunResults:
    """Open the run's results as a verb does."""
    return open_results(store, LAYOUT, "teapot", TrainingJobStatus(run_identity=IDENTITY))


def test_samples_come_by_prompt(store: VolumeStore) -> None:
    """Every step has a place for each prompt, empty where it has no picture."""
    assert open_teapot(store).read_samples([0, 50]) == {0: [b"cup 0", b"jug 0"], 50: [b"cup 50", None]}


def test_a_changed_picture_is_refused(store: VolumeStore, tmp_path: Path) -> None:
    """A sample whose bytes are not those of its manifest is not shown."""
    (tmp_path / "store" / RUN.checkpoint("a", 50, "samples", "0.png")).write_bytes(b"other")
    with pytest.raises(ObjectMissing, match="sha256 differs"):
        open_teapot(store).read_samples([50])


def test_a_job_that_has_not_begun_is_said(store: VolumeStore) -> None:
    """Without an identity there is nothing to look for, and the sentence says where to look instead."""
    with pytest.raises(BadRequest, match="has not begun; `kubectl atelier describe teapot`"):
        open_results(store, LAYOUT, "teapot", TrainingJobStatus())


def test_a_run_without_checkpoints_is_said(tmp_path: Path) -> None:
    """A run that is still loading has no pictures yet."""
    with pytest.raises(BadRequest, match="has no checkpoint in the store"):
        open_results(VolumeStore(tmp_path), LAYOUT, "teapot", TrainingJobStatus(run_identity=IDENTITY))


def test_a_run_that_is_over_without_checkpoints_promises_none(tmp_path: Path) -> None:
    """A run that was stopped before its first checkpoint is not waited for."""
    status = TrainingJobStatus(
        run_identity=IDENTITY, conditions=[a_condition(Condition.READY, reason=State.AWAITING_SELECTION)]
    )
    with pytest.raises(BadRequest, match="ended before the first one"):
        open_results(VolumeStore(tmp_path), LAYOUT, "teapot", status)


def test_a_download_is_whole_and_the_recorded_one(store: VolumeStore, tmp_path: Path) -> None:
    """An unpublished checkpoint's file arrives under the name it is given."""
    results = open_teapot(store)
    manifest = first_of_each_step(list_checkpoints(store, RUN))[50].manifest
    (path,) = download_checkpoint(results, manifest, tmp_path, "tkxw")
    assert (path.name, path.read_bytes()) == ("tkxw-concept-model.safetensors", WEIGHTS)


def test_a_download_twice_fetches_once(store: VolumeStore, tmp_path: Path) -> None:
    """A file that is there and is the recorded one is left as it is."""
    key = RUN.checkpoint("a", 50, "concept-model.safetensors")
    assert download_verified(store, key, SHA, tmp_path / "model")
    assert not download_verified(store, key, SHA, tmp_path / "model")


def test_a_download_replaces_nothing(store: VolumeStore, tmp_path: Path) -> None:
    """Another file of that name stays, and the sentence says what to do."""
    (tmp_path / "model").write_bytes(b"mine")
    with pytest.raises(StudioError, match="is something else: move it away"):
        download_verified(store, RUN.checkpoint("a", 50, "concept-model.safetensors"), SHA, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"mine"


def test_a_damaged_download_leaves_nothing_behind(store: VolumeStore, tmp_path: Path) -> None:
    """Bytes of another digest than the recorded one never appear under the file's name."""
    (tmp_path / "out").mkdir()
    with pytest.raises(ObjectMissing, match="sha256 differs"):
        download_verified(
            store, RUN.checkpoint("a", 50, "concept-model.safetensors"), "0" * 64, tmp_path / "out" / "model"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_published_files_come_with_what_stands_beside(store: VolumeStore) -> None:
    """Weights come first with their digest; sidecar and preview may have been edited and are not compared."""
    for suffix, data in ((".safetensors", WEIGHTS), (".json", b"{}"), (".png", b"picture")):
        store.write(RUN.model("tkxw", 50, SHA, suffix), data)
    store.write(RUN.model("tkxw", 100, "9" * 64, ".safetensors"), b"another model")
    model = ModelStatus(name="tkxw", checkpoint="step-000050", key="", sha256=SHA, bytes=len(WEIGHTS))
    found = list_published(store, RUN, "tkxw", model)
    assert [(file.name, file.sha256) for file in found] == [
        (f"tkxw-step-000050-{SHA[:8]}.safetensors", SHA),
        (f"tkxw-step-000050-{SHA[:8]}.json", ""),
        (f"tkxw-step-000050-{SHA[:8]}.png", ""),
    ]


def test_published_weights_that_are_gone_are_said(store: VolumeStore) -> None:
    """Where somebody deleted a published model the sentence names the checkpoint it came from."""
    model = ModelStatus(name="tkxw", checkpoint="step-000050", key="", sha256=SHA, bytes=len(WEIGHTS))
    with pytest.raises(ObjectMissing, match="--checkpoint step-000050"):
        list_published(store, RUN, "tkxw", model)
