"""Everything that training works on, brought to local disk and compared with what was recorded of it.

Nothing is trusted that was not verified: pictures against the revision, the base model against run.json, states and
start files against their manifests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atelier_contract.inputs import TrainingInput
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import DatasetItem, ExecutionManifest, RunManifest
from atelier_materials.errors import ObjectMissing
from atelier_materials.store.checkpoints import StoredCheckpoint, first_of_each_step, list_checkpoints, list_states
from atelier_materials.store.documents import find_document
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import Shelf
from atelier_trainer.commands.adoption import find_start
from atelier_trainer.commands.advice import list_advice
from atelier_trainer.commands.image_encoder import find_image_encoder
from atelier_trainer.commands.preflight import changed, read_revision, refuse_other_base
from atelier_trainer.commands.prior import ask_for_prior
from atelier_trainer.edges.base_model import check_base_model, digest_base_model
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.sources import open_base_model, open_dataset
from atelier_trainer.errors import PodTerminated
from atelier_trainer.records import LocalCheckpoint, LocalState, Picture, Workspace
from atelier_trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Fetcher:
    """Brings a run's files to scratch space; asks before each whether the pod has to go."""

    settings: TrainerSettings
    home: Home
    asked: TrainingInput
    patience: Patience
    is_terminated: Callable[[], bool]

    def fetch_workspace(self, run: RunLayout) -> Workspace:
        """Fetch and verify everything.

        Raises:
            DatasetChanged: a picture is not what the revision lists.
            BaseModelUnusable: the base model cannot be trained on, or is not the one the run began with.
            PodTerminated: SIGTERM arrived meanwhile.
        """
        store = self.home.store
        manifest = find_document(store, run.manifest, RunManifest)
        checkpoints = first_of_each_step(list_checkpoints(self.home.store, run)).values()
        base_model, digests, facts = self._fetch_base_model(manifest)
        state = self._fetch_state(run)
        # A state holds the weights: what the run started from may have been collected since.
        start, start_sha256 = self._fetch_start(manifest) if state is None else ((), None)
        scratch = self._folder("work")
        return Workspace(
            input=self.asked,
            attempt=self.settings.attempt,
            pictures=self._fetch_pictures(self.asked),
            prior_pictures=self._fetch_prior_pictures(),
            image_encoder=self._fetch_image_encoder(),
            base_model=base_model,
            base_model_digest=digest_base_model(digests),
            base_model_files=digests,
            advice=tuple(list_advice(self.asked, read_revision(self.home, self.asked).items, facts)),
            scratch_bytes=self.settings.ephemeral_bytes,
            scratch=scratch,
            run=manifest,
            execution=find_document(store, run.execution, ExecutionManifest),
            state=state,
            checkpoints=tuple(_as_local(checkpoint) for checkpoint in checkpoints),
            start_from=start,
            start_from_sha256=start_sha256,
        )

    def _fetch_prior_pictures(self) -> tuple[Picture, ...]:
        prior = ask_for_prior(self.asked)
        return () if prior is None else self._fetch_pictures(prior, "prior-pictures")

    def _fetch_pictures(self, asked: TrainingInput, room: str = "pictures") -> tuple[Picture, ...]:
        revision = read_revision(self.home, asked)
        dataset = open_dataset(self.settings, self.home, asked.dataset, self.patience)
        folder = self._folder(room)

        def fetch(numbered: tuple[int, DatasetItem]) -> Picture:
            number, item = numbered
            path = folder / f"{number:06d}{PurePosixPath(item.path).suffix.lower()}"
            self._fetch_as_inspected(asked, dataset.shelf, dataset.key_of(item), path, (item.path, item.sha256))
            mask = None
            if asked.settings.masks == "auto" and item.mask_path and item.mask_sha256:
                mask = path.with_suffix(".mask")
                found = (item.mask_path, item.mask_sha256)
                self._fetch_as_inspected(asked, dataset.shelf, dataset.key_of_mask(item), mask, found)
            captions = tuple(item.other_captions)
            return Picture(path, item.sha256, item.caption, captions, mask, item.repeats, item.path)

        return tuple(map_at_once(fetch, list(enumerate(revision.items))))

    def _fetch_as_inspected(
        self, asked: TrainingInput, shelf: Shelf, key: str, path: Path, inspected: tuple[str, str]
    ) -> None:
        """Fetch a file of a dataset. Raises DatasetChanged unless it has the sha256 that was inspected at its path."""
        where, expected = inspected
        try:
            sha256 = self._fetch(shelf, key, path)
        except ObjectMissing as error:
            raise changed(asked, where) from error
        if sha256 != expected:
            raise changed(asked, where)

    def _fetch_image_encoder(self) -> Path | None:
        """Fetch the encoder that samples are compared by."""
        asked = self.asked.settings.validation.image_encoder
        if asked is None:
            return None
        source, files = find_image_encoder(self.home, asked)
        folder = self._folder("image-encoder")
        for file in files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(source.shelf, file.key, path)
        return folder

    def _fetch_base_model(self, run: RunManifest | None) -> tuple[Path, dict[str, str], BaseModelFacts]:
        """Fetch the base model; return its folder, its files' digests and what was found out of it."""
        source = open_base_model(self.settings, self.home, self.asked.base_model)
        facts = check_base_model(source, self.asked.base_model.architecture)
        folder = self._folder("base-model")
        digests = {}
        for file in facts.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            digests[file.path] = self._fetch(source.shelf, file.key, path)
        if run is not None:
            refuse_other_base(digest_base_model(digests), run.base_model_digest, source)
        return folder, digests, facts

    def _fetch_state(self, run: RunLayout) -> LocalState | None:
        """Return the newest whole state whose bytes are the recorded ones."""
        for stored in reversed(list_states(self.home.store, run)):
            folder = self._folder(f"state-{stored.manifest.step}")
            fetched = {}
            for file in stored.manifest.files:
                path = folder / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                fetched[file.name] = self._fetch(self.home.store, stored.key(file.name), path)
            if all(fetched[file.name] == file.sha256 for file in stored.manifest.files):
                return LocalState(folder, stored.manifest)
        return None

    def _fetch_start(self, begun: RunManifest | None) -> tuple[tuple[Path, ...], str | None]:
        if self.asked.start_from is None:
            return (), None
        files = find_start(self.home, self.asked, self.asked.start_from, begun)
        paths = []
        for file in files:
            path = self._folder("start") / PurePosixPath(file.key).name
            if self._fetch(self.home.store, file.key, path) != file.sha256:
                raise ObjectMissing(f"{file.key} is not what its checkpoint's manifest lists")
            paths.append(path)
        return tuple(paths), files[0].sha256

    def _fetch(self, shelf: Shelf, key: str, path: Path) -> str:
        if self.is_terminated():
            raise PodTerminated("the pod was asked to end while it fetched its files: another one begins anew")
        return shelf.fetch(key, path).sha256

    def _folder(self, name: str) -> Path:
        folder = self.settings.scratch_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _as_local(checkpoint: StoredCheckpoint) -> LocalCheckpoint:
    return LocalCheckpoint(checkpoint.manifest)
