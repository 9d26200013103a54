"""`records.Cache` over a store: what was encoded once is found by later attempts and by other jobs of the dataset.

Entries lie in segments, one object of up to 256 MB each, because a bucket answers ten thousand small questions slowly.
A segment is a file that is mapped into memory: written from the front, stored when it is full, its index after it; a
killed pod's stored segments are whole and are used. Segments are named by their sha256, so that none is ever
overwritten and a damaged one is known when it is fetched: it is taken away, and its entries are made again.

Two jobs may make the same entry at once, and on different machines it may differ in its last bits. A run reads its own
entries first and else the oldest, so that a later attempt reads what the first one read.
"""

from __future__ import annotations

import hashlib
import logging
import math
import mmap
import os
import shutil
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self

from atelier_contract.manifests import CacheIndex
from atelier_materials.errors import InvalidInput, ObjectConflict, ObjectMissing
from atelier_materials.store.documents import find_document, write_document
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.protocol import StoredObject, hash_file
from atelier_trainer.edges.home import Home
from atelier_trainer.records import Room

SEGMENT_BYTES = 256 << 20
ALIGNMENT_BYTES = 64
"""Entries begin at multiples of this, a cache line, so that numbers of any width can be read where they lie."""
DISK_SHARE = 0.5
"""Part of the free scratch space that a cache may take; the rest is for checkpoints and states."""
INDEX, SEGMENT = ".json", ".bin"
log = logging.getLogger(__name__)


@dataclass
class OpenSegment:
    """A segment in the making: a mapped file, filled from the front."""

    path: Path
    view: memoryview
    used_bytes: int = 0
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)

    def fits(self, data: bytes) -> bool:
        """Return whether there is room for an entry."""
        return self.used_bytes + len(data) <= len(self.view)

    def add(self, key: str, data: bytes) -> memoryview:
        """Copy an entry in and return where it lies."""
        start, end = self.used_bytes, self.used_bytes + len(data)
        self.view[start:end] = data
        self.entries[key] = (start, len(data))
        self.used_bytes = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return self.view[start:end]


@dataclass(frozen=True)
class StoredSegment:
    """A whole segment in the store."""

    key: str
    index: CacheIndex


class StoreCache:
    """The cache of one dataset in a namespace's store. Use it as a context: leaving stores what is not stored yet."""

    def __init__(
        self,
        home: Home,
        dataset: str,
        run_identity: str,
        folder: Path,
        *,
        is_writer: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        capacity_bytes: int | None = None,
        sharers: int = 1,
    ) -> None:
        """Open the cache; nothing is read yet.

        Args:
            home: the namespace's store.
            dataset: whose cache it is.
            run_identity: whose entries are preferred, and who those written are ascribed to.
            folder: for mapped segments; made. On the same disk as checkpoints in the making.
            is_writer: False: what is written is at hand here and never stored, for all but one of several processes.
            segment_bytes: size of a segment; an entry that is larger has one of its own.
            capacity_bytes: the pod's ephemeral storage; None: the disk is its own measure.
            sharers: processes that each keep so much on the same disk.
        """
        self._home, self._dataset, self._run = home, dataset, run_identity
        self._folder, self._is_writer, self._segment_bytes = folder, is_writer, segment_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        self._entries: dict[tuple[Room, str], memoryview] = {}
        self._open: dict[Room, OpenSegment] = {}
        self._stored: dict[Room, list[StoredSegment]] = {}
        self._files = 0
        self._taken_bytes = 0
        self._budget_bytes = DISK_SHARE * min(shutil.disk_usage(folder).free, capacity_bytes or math.inf) / sharers
        self._pool = ThreadPoolExecutor(1, "cache")
        self._storing: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
            else:  # what ended the run is what must be told
                with suppress(Exception):
                    self.flush()
        finally:
            self._pool.shutdown()

    def has_space(self, size_bytes: int) -> bool:
        """Return whether so much more can be kept without taking over half of the scratch space."""
        return self._taken_bytes + size_bytes <= self._budget_bytes

    def fetch(self, room: Room, keys: Collection[str]) -> None:
        """Fetch the segments that hold any of these keys and are whole."""
        missing = {key for key in keys if (room, key) not in self._entries}
        if missing and room not in self._stored:
            self._stored[room] = self._list_segments(room)
        while missing:  # more than once only where a segment is damaged and another one has its entries too
            chosen = _choose_segments(self._stored.get(room, []), missing)
            if not chosen:
                return
            fetched = map_at_once(self._fetch_segment, chosen)
            for segment, view in zip(chosen, fetched, strict=True):
                self._stored[room].remove(segment)
                if view is None:
                    continue
                for key in missing & segment.index.entries.keys():
                    start, length = segment.index.entries[key]
                    self._entries.setdefault((room, key), view[start : start + length])
            missing -= {key for kept_in, key in self._entries if kept_in == room}

    def read(self, room: Room, key: str) -> memoryview | None:
        """Return an entry at hand, or None."""
        return self._entries.get((room, key))

    def write(self, room: Room, key: str, data: bytes) -> None:
        """Add an entry to the open segment; a full one goes to the store behind the caller's back."""
        if (room, key) in self._entries:
            return
        segment = self._open.get(room)
        if segment is None or not segment.fits(data):
            self._close(room)
            segment = self._open[room] = self._begin_segment(max(self._segment_bytes, len(data)))
        self._entries[room, key] = segment.add(key, data)
        self._taken_bytes += len(data)

    def flush(self) -> None:
        """Store what is open, and wait.

        Raises:
            StorageUnavailable: the store does not answer.
        """
        for room in list(self._open):
            self._close(room)
        storing, self._storing = self._storing, []
        for future in storing:
            future.result()

    def _begin_segment(self, size_bytes: int) -> OpenSegment:
        path = self._next_path()
        with path.open("w+b") as file:
            file.truncate(size_bytes)  # sparse: what is not written takes no space
            return OpenSegment(path, memoryview(mmap.mmap(file.fileno(), size_bytes)))

    def _close(self, room: Room) -> None:
        segment = self._open.pop(room, None)
        if segment is not None and self._is_writer:
            self._storing.append(self._pool.submit(self._store, room, segment))

    def _store(self, room: Room, segment: OpenSegment) -> None:
        """Store a segment and then its index.

        The digest of its keys ends a segment, so that equal contents under other keys (the same encoder, told to be
        another's) are another segment with an index of its own.
        """
        os.truncate(segment.path, segment.used_bytes)  # what is mapped behind it holds no entry and is never touched
        with segment.path.open("ab") as file:
            file.write(hashlib.sha256("\n".join(segment.entries).encode()).digest())
        content = hash_file(segment.path)
        sha256 = content.sha256
        index = CacheIndex(run_identity=self._run, bytes=content.bytes, entries=segment.entries)
        try:
            self._home.store.write_file(self._key(room, sha256, SEGMENT), segment.path)
            write_document(self._home.store, self._key(room, sha256, INDEX), index)
        except ObjectConflict:  # the same bytes under another run's index, which came first
            log.info("a segment of the cache of %s is there already", self._dataset)

    def _list_segments(self, room: Room) -> list[StoredSegment]:
        """Return all whole segments: this run's first, then from the oldest on."""
        entries = [e for e in self._home.store.list(self._home.layout.cache(self._dataset, room)) if _is_index(e)]
        entries.sort(key=lambda entry: (entry.modified_seconds, entry.key))
        found = [segment for segment in map_at_once(self._read_index, entries) if segment is not None]
        return sorted(found, key=lambda segment: segment.index.run_identity != self._run)

    def _read_index(self, entry: StoredObject) -> StoredSegment | None:
        try:
            index = find_document(self._home.store, entry.key, CacheIndex)
        except InvalidInput as error:  # of a newer release, or damaged: it only costs encoding again
            log.warning("an index of the cache is passed over: %s", error)
            return None
        return StoredSegment(entry.key.removesuffix(INDEX) + SEGMENT, index) if index else None

    def _fetch_segment(self, segment: StoredSegment) -> memoryview | None:
        """Return a stored segment's bytes, mapped; None where they are damaged, gone, or too many for this disk."""
        if not self.has_space(segment.index.bytes):
            log.warning("scratch space does not hold a segment of the cache of %s", self._dataset)
            return None
        path = self._next_path()
        try:
            content = self._home.store.fetch(segment.key, path)
        except ObjectMissing:
            return None
        if content.sha256 != PurePosixPath(segment.key).stem or content.bytes != segment.index.bytes:
            log.warning("%s is damaged: what it held is encoded again", segment.key)
            path.unlink()
            if self._is_writer:  # else the same bytes, made again, could not be written in its place
                self._home.store.delete([segment.key.removesuffix(SEGMENT) + INDEX, segment.key])
            return None
        self._taken_bytes += content.bytes
        with path.open("r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), 0))

    def _next_path(self) -> Path:
        self._files += 1
        return self._folder / f"segment-{self._files}"

    def _key(self, room: Room, sha256: str, suffix: str) -> str:
        return self._home.layout.cache_segment(self._dataset, room, sha256, suffix)


def _is_index(entry: StoredObject) -> bool:
    return entry.key.endswith(INDEX)


def _choose_segments(segments: Iterable[StoredSegment], keys: Collection[str]) -> list[StoredSegment]:
    """Return the first segments that hold the keys, each only for keys that none before it holds."""
    chosen, missing = [], set(keys)
    for segment in segments:
        if held := missing & segment.index.entries.keys():
            chosen.append(segment)
            missing -= held
    return chosen
