"""What a run has brought, read from the store: sample pictures, checkpoints' files, published models.

In: a TrainingJob's status and the opened store. Out: bytes and local files whose sha256 is the recorded one; what is
not is never handed on. A file appears under its name only once it is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atelier_contract.identity import read_step
from atelier_contract.layout import WEIGHTS_SUFFIX, NamespaceLayout, RunLayout
from atelier_contract.manifests import CheckpointManifest, ModelFile, RunManifest
from atelier_contract.training_job_status import ModelStatus, TrainingJobStatus
from atelier_materials.errors import ObjectMissing
from atelier_materials.store.checkpoints import StoredCheckpoint, first_of_each_step, list_checkpoints
from atelier_materials.store.documents import read_document
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.protocol import Shelf, hash_bytes, hash_file
from atelier_studio.actions import tables
from atelier_studio.errors import BadRequest, StudioError

UNFINISHED_SUFFIX = ".unfinished"


@dataclass(frozen=True)
class RunResults:
    """A run's document and its whole checkpoints, step 0 (the base model's pictures) among them."""

    store: Shelf
    run: RunManifest
    checkpoints: dict[int, StoredCheckpoint]

    def read_samples(self, steps: Sequence[int]) -> dict[int, list[bytes | None]]:
        """Return the sample pictures of steps: one for each of the run's prompts, None where there is none.

        Raises:
            ObjectMissing: a picture is gone, or not the one that its checkpoint lists.
        """
        wanted = [
            (step, sample, self.checkpoints[step].key(sample.name))
            for step in steps
            for sample in self.checkpoints[step].manifest.samples
        ]
        found: dict[int, list[bytes | None]] = {step: [None] * len(self.run.prompts) for step in steps}
        contents = map_at_once(lambda one: read_verified(self.store, one[2], one[1].sha256), wanted)
        for (step, sample, _), content in zip(wanted, contents, strict=True):
            if sample.prompt < len(self.run.prompts):
                found[step][sample.prompt] = content
        return found


def open_results(store: Shelf, layout: NamespaceLayout, job: str, status: TrainingJobStatus) -> RunResults:
    """Read what a run has brought so far.

    Raises:
        BadRequest: it has not begun, or its checkpoints are gone.
    """
    if status.run_identity is None:
        raise BadRequest(
            f"{job} has brought nothing yet: it has not begun; `kubectl atelier describe {job}` says what it waits for"
        )
    run = layout.run(job, status.run_identity)
    checkpoints = first_of_each_step(list_checkpoints(store, run))
    if not checkpoints and tables.read_state(status)[0] in tables.OVER:
        raise BadRequest(f"{job} has no checkpoint in the store: it ended before the first one, or they were deleted")
    if not checkpoints:
        raise BadRequest(
            f"{job} has no checkpoint in the store: the first pictures come once the base model is loaded and drawn "
            f"with; `kubectl atelier watch {job}` shows when"
        )
    return RunResults(store, read_document(store, run.manifest, RunManifest), checkpoints)


def read_verified(store: Shelf, key: str, sha256: str) -> bytes:
    """Return an object's bytes.

    Raises:
        ObjectMissing: it is gone, or its sha256 is another.
    """
    content = store.read(key)
    if hash_bytes(content).sha256 != sha256:
        raise ObjectMissing(f"{key} in {store.address} is not what was written: its sha256 differs from {sha256[:16]}…")
    return content


def download_verified(store: Shelf, key: str, sha256: str, path: Path) -> bool:
    """Write an object to a local file, unless that holds it already; return whether it was fetched.

    Args:
        store: where it lies.
        key: its key.
        sha256: its recorded digest, or the first 16 hex digits of it.
        path: where it goes; its folder exists.

    Raises:
        ObjectMissing: it is gone, or its sha256 is another; nothing is left behind.
        StudioError: the file cannot be written, or another of that name lies there.
    """
    if path.exists():
        if path.is_file() and hash_file(path).sha256.startswith(sha256):
            return False
        raise StudioError(f"{path} is there already and is something else: move it away, or choose another folder")
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    try:
        content = store.fetch(key, unfinished)
        if not content.sha256.startswith(sha256):
            raise ObjectMissing(f"{key} in {store.address} is not what was published: its sha256 differs")
        unfinished.replace(path)
    except OSError as error:
        raise StudioError(f"{path} cannot be written ({error.strerror}): choose another folder with --to") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return True


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published model."""

    key: str
    name: str
    """Its own name, without folders."""
    sha256: str
    """Recorded digest, or the beginning of it; empty for what people may edit: the sidecar and the preview."""


def list_published(store: Shelf, run: RunLayout, slug: str, model: ModelStatus) -> list[PublishedFile]:
    """Return the files of a published model: its weights first, then what stands beside them.

    Args:
        store: where they lie.
        run: keys of the run.
        slug: of the model's name.
        model: row of the job's status. It may lack the key, and never knows the bucket's own prefix.

    Raises:
        ObjectMissing: the weights are gone from the store, or something else lies beside them.
    """
    step = read_step(model.checkpoint)
    first = run.model(slug, step, model.sha256, WEIGHTS_SUFFIX)
    folder, _, name = first.rpartition("/")
    stem = name.removesuffix(WEIGHTS_SUFFIX)
    keys = [entry.key for entry in store.list(folder) if entry.key.rpartition("/")[2].startswith(stem)]
    if first not in keys:
        raise ObjectMissing(
            f"{first} is not in {store.address} any more: somebody deleted or moved it; its checkpoint may be left "
            f"(--checkpoint {model.checkpoint})"
        )
    recorded = {first: model.sha256}
    second = [key for key in keys if key.endswith(WEIGHTS_SUFFIX) and key != first]
    if second:  # a run that learned an embedding too: status tells of the first file alone
        told = [file.sha256 for file in _find_files(store, run, step, model.sha256)[1:]]
        if len(told) != len(second):
            raise ObjectMissing(
                f"beside {first} lie {len(second)} further weights files, and its checkpoint tells of {len(told)}: "
                "take away what does not belong there"
            )
        recorded |= dict(zip(second, told, strict=True))
    beside = [key for key in keys if key not in recorded]
    return [PublishedFile(key, key.rpartition("/")[2], recorded.get(key, "")) for key in [*recorded, *beside]]


def _find_files(store: Shelf, run: RunLayout, step: int, sha256: str) -> list[ModelFile]:
    """Return the files of the checkpoint that was published; none where it is gone."""
    found = (one.manifest.files for one in list_checkpoints(store, run) if one.manifest.step == step)
    return next((files for files in found if files and files[0].sha256.startswith(sha256)), [])


def download_checkpoint(results: RunResults, manifest: CheckpointManifest, folder: Path, stem: str) -> list[Path]:
    """Write the model files of a checkpoint that is not published, `stem` before their names; return where they lie."""
    stored = results.checkpoints[manifest.step]
    paths = []
    for file in manifest.files:
        path = folder / f"{stem}-{file.name}"
        download_verified(results.store, stored.key(file.name), file.sha256, path)
        paths.append(path)
    return paths
