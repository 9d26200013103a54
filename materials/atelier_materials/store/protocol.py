"""What a store is: a flat space of keys, each written once. A bucket and a volume both are one.

Keys come from `atelier_contract.layout`; sources of users bring their own. Every content is known by a sha256 that we
compute ourselves, so that integrity never depends on what checksums a server understands. Implementations translate
their library's errors into `atelier_materials.errors` and wait for a store that does not answer; whoever uses a store
sees neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atelier_materials.errors import ObjectConflict

CHUNK_BYTES = 1 << 20
"""Read at once when streaming: large enough that Python's share of the time is small."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells of it."""

    key: str
    bytes: int
    modified_seconds: float
    """When it was written, in seconds since 1970, by the store's clock."""


@dataclass(frozen=True)
class Content:
    """What lies under a key, without the bytes themselves."""

    sha256: str
    bytes: int


class Shelf(Protocol):
    """Something to read from: a store, or a source of pictures or models."""

    @property
    def address(self) -> str:
        """What to call it in messages. Example: bucket photos at https://s3.example."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what lies below `prefix/`, sorted by key; everything for an empty prefix."""

    def head(self, key: str) -> StoredObject | None:
        """Return what a listing would tell of a key, or None where nothing lies."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a small object's bytes, or a part of them. Raises ObjectMissing."""

    def digest(self, key: str) -> Content:
        """Read an object to its end and return what it is, keeping nothing. Raises ObjectMissing."""

    def fetch(self, key: str, path: Path) -> Content:
        """Write an object's bytes to a local file, streaming. Raises ObjectMissing."""


class Store(Shelf, Protocol):
    """A bucket or a volume."""

    def write(self, key: str, data: bytes) -> Content:
        """Store bytes, whole or not at all. The same bytes there already is success. Raises ObjectConflict."""

    def write_file(self, key: str, path: Path) -> Content:
        """Store a local file, as `write` does."""

    def copy(self, source: str, target: str) -> None:
        """Copy within the store, as `write` does. Raises ObjectMissing, ObjectConflict."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys, in this order. One that is gone already is fine."""


def hash_file(path: Path) -> Content:
    """Return what a local file holds."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Content(digest.hexdigest(), size)


def hash_bytes(data: bytes) -> Content:
    """Return what these bytes are."""
    return Content(hashlib.sha256(data).hexdigest(), len(data))


def is_there(store: Shelf, key: str, content: Content) -> bool:
    """Return whether a key holds this content already.

    Raises:
        ObjectConflict: it holds something else. Nothing was changed.
    """
    found = store.head(key)
    if found is None:
        return False
    if found.bytes == content.bytes and store.digest(key) == content:
        return True
    raise ObjectConflict(
        f"{key} in {store.address} holds something else already, and keys are written once: "
        "look who else writes to this store"
    )
