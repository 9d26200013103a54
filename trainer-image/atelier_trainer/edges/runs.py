"""What a run has left in the store: its documents, whole checkpoints, whole states; and earlier runs of the same job.

Readers trust manifests alone. Several attempts may have made the same step; the first whole manifest of a step wins, by
the store's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from atelier_contract.layout import RunLayout
from atelier_contract.manifests import (
    CheckpointManifest,
    FinalManifest,
    OutcomeManifest,
    RunManifest,
    StateManifest,
)
from atelier_contract.progress import CheckpointRow
from atelier_materials.store.documents import find_document, read_document
from atelier_materials.store.protocol import StoredObject
from atelier_trainer.edges.home import Home

CHECKPOINT_MANIFEST = "checkpoint.json"
STATE_MANIFEST = "state.json"
Manifest = TypeVar("Manifest", CheckpointManifest, StateManifest)


@dataclass(frozen=True)
class Stored(Generic[Manifest]):
    """A whole checkpoint or state in the store."""

    folder: str
    """Key of its folder, without a slash at the end."""
    manifest_key: str
    manifest_bytes: int
    manifest: Manifest

    def key(self, name: str) -> str:
        """Return the key of one of its files."""
        return f"{self.folder}/{name}"


StoredCheckpoint = Stored[CheckpointManifest]
StoredState = Stored[StateManifest]


@dataclass(frozen=True)
class EarlierRun:
    """A run of the same job's name that lies in the store."""

    layout: RunLayout
    manifest: RunManifest
    outcome: OutcomeManifest | None
    final: FinalManifest | None
    begun_seconds: float
    """When run.json was written, by the store's clock."""


def list_checkpoints(home: Home, run: RunLayout) -> list[StoredCheckpoint]:
    """Return every whole checkpoint of every attempt, the earliest written first."""
    return list(_list_stored(home, run, "checkpoints", CHECKPOINT_MANIFEST, CheckpointManifest))


def list_states(home: Home, run: RunLayout) -> list[StoredState]:
    """Return every whole state of every attempt, the lowest step first."""
    found = _list_stored(home, run, "state", STATE_MANIFEST, StateManifest)
    return sorted(found, key=lambda state: state.manifest.step)


def first_of_each_step(checkpoints: Iterable[StoredCheckpoint]) -> dict[int, StoredCheckpoint]:
    """Return the checkpoint that counts for each step, by step."""
    first: dict[int, StoredCheckpoint] = {}
    for checkpoint in checkpoints:
        first.setdefault(checkpoint.manifest.step, checkpoint)
    return dict(sorted(first.items()))


def to_row(manifest: CheckpointManifest) -> CheckpointRow:
    """Return what progress and last words tell of a checkpoint."""
    return CheckpointRow(
        step=manifest.step,
        bytes=manifest.bytes,
        sha256=manifest.files[0].sha256 if manifest.files else "",
        held_out_loss=manifest.held_out_loss,
        samples=len(manifest.samples),
    )


def list_runs(home: Home, job: str) -> list[EarlierRun]:
    """Return the runs of a job's name, the latest begun first."""
    found = []
    for entry in home.store.list(home.layout.runs(job)):
        if entry.key.endswith("/run.json") and entry.key.count("/") == home.layout.runs(job).count("/") + 2:
            manifest = read_document(home.store, entry.key, RunManifest)
            layout = home.layout.run(job, manifest.run_identity)
            outcome = find_document(home.store, layout.outcome, OutcomeManifest)
            final = find_document(home.store, layout.final, FinalManifest)
            found.append(EarlierRun(layout, manifest, outcome, final, entry.modified_seconds))
    return sorted(found, key=lambda run: run.begun_seconds, reverse=True)


def _list_stored(home: Home, run: RunLayout, room: str, name: str, kind: type[Manifest]) -> Iterator[Stored[Manifest]]:
    shape = re.compile(rf"^{re.escape(run.attempts())}/[^/]+/{room}/step-\d+/{re.escape(name)}$")
    entries = [entry for entry in home.store.list(run.attempts()) if shape.match(entry.key)]
    for entry in sorted(entries, key=_by_time):
        manifest = find_document(home.store, entry.key, kind)
        if manifest is not None:  # None: a retention or collection took it since the listing, so it does not exist
            yield Stored(entry.key.rpartition("/")[0], entry.key, entry.bytes, manifest)


def _by_time(entry: StoredObject) -> tuple[float, str]:
    return entry.modified_seconds, entry.key
