"""What the attempts of a run have left in a store: whole checkpoints and whole states.

Readers trust manifests alone. Several attempts may have made the same step; the first whole manifest of a step wins, by
the store's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from atelier_contract.layout import RunLayout
from atelier_contract.manifests import CheckpointManifest, StateManifest
from atelier_materials.store.documents import find_document
from atelier_materials.store.protocol import Shelf, StoredObject

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


def list_checkpoints(store: Shelf, run: RunLayout) -> list[StoredCheckpoint]:
    """Return every whole checkpoint of every attempt, the earliest written first."""
    return list(_list_stored(store, run, "checkpoints", CHECKPOINT_MANIFEST, CheckpointManifest))


def list_states(store: Shelf, run: RunLayout) -> list[StoredState]:
    """Return every whole state of every attempt, the lowest step first."""
    found = _list_stored(store, run, "state", STATE_MANIFEST, StateManifest)
    return sorted(found, key=lambda state: state.manifest.step)


def first_of_each_step(checkpoints: Iterable[StoredCheckpoint]) -> dict[int, StoredCheckpoint]:
    """Return the checkpoint that counts for each step, by step."""
    first: dict[int, StoredCheckpoint] = {}
    for checkpoint in checkpoints:
        first.setdefault(checkpoint.manifest.step, checkpoint)
    return dict(sorted(first.items()))


def _list_stored(
    store: Shelf, run: RunLayout, room: str, name: str, kind: type[Manifest]
) -> Iterator[Stored[Manifest]]:
    shape = re.compile(rf"^{re.escape(run.attempts())}/[^/]+/{room}/step-\d+/{re.escape(name)}$")
    entries = [entry for entry in store.list(run.attempts()) if shape.match(entry.key)]
    for entry in sorted(entries, key=_by_time):
        manifest = find_document(store, entry.key, kind)
        if manifest is not None:  # None: a retention or collection took it since the listing, so it does not exist
            yield Stored(entry.key.rpartition("/")[0], entry.key, entry.bytes, manifest)


def _by_time(entry: StoredObject) -> tuple[float, str]:
    return entry.modified_seconds, entry.key
