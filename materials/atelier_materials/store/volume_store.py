"""A mounted volume as a store: the same keys, as folders and files.

A file appears under its key by one rename, after its bytes are on disk; so here, too, what can be seen is whole. Links
are followed only where they stay inside the volume's folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from atelier_materials.errors import (
    AtelierError,
    DatasetUnusable,
    ObjectMissing,
    StorageNotConfigured,
    StorageUnavailable,
)
from atelier_materials.store.protocol import CHUNK_BYTES, Content, StoredObject, hash_bytes, hash_file, is_there

UNFINISHED = ".atelier-unfinished-"
"""Begins the names of files that are being written: no listing shows them."""
SYSTEM_FOLDERS = frozenset({"lost+found", "$recycle.bin", "system volume information"})
"""At the root of disks: `fsck` of Linux, and Windows."""


def is_of_the_system(folder: str) -> bool:
    """Return whether a folder's name says that a system keeps it for itself: whoever may not read it misses nothing."""
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS


class VolumeStore:
    """A folder of a mounted volume.

    Args:
        root: the folder.
        follows_links: whether links to files elsewhere are those files: it is a folder of a person's own machine. In a
            pod they are not: whoever fills a volume must not read what else the pod sees.
    """

    def __init__(self, root: Path, *, follows_links: bool = False) -> None:
        self._root, self._follows_links = root, follows_links

    @property
    def address(self) -> str:
        """What to call it in messages."""
        return f"the volume at {self._root}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what lies below `prefix/`, sorted by key."""
        with self._translated(f"list {prefix}"):
            found = sorted(self._walk(self._path(prefix) if prefix else self._root))
        yield from (entry for entry in map(self.head, found) if entry is not None)

    def _walk(self, folder: Path) -> Iterator[str]:
        for parent, _, files in os.walk(folder, onerror=self._judge_folder):
            for name in files:
                if not name.startswith(UNFINISHED):
                    yield (Path(parent) / name).relative_to(self._root).as_posix()

    def _judge_folder(self, error: OSError) -> None:
        # In a pod it may be a disk's lost+found, which is root's alone; a person's pictures are not passed over.
        is_missed = not isinstance(error, FileNotFoundError) and not is_of_the_system(Path(error.filename).name)
        if self._follows_links and is_missed:
            raise error

    def head(self, key: str) -> StoredObject | None:
        """Return what a listing would tell of a key, or None where nothing lies."""
        with self._translated(f"read {key}"):
            try:
                path = self._path(key)
                facts = path.stat()
            except (FileNotFoundError, NotADirectoryError, ObjectMissing):
                return None
            return StoredObject(key, facts.st_size, facts.st_mtime) if path.is_file() else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a small file's bytes, or a part of them."""
        with self._translated(f"read {key}"), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def digest(self, key: str) -> Content:
        """Read a file to its end and return what it is."""
        with self._translated(f"read {key}"):
            return hash_file(self._path(key))

    def fetch(self, key: str, path: Path) -> Content:
        """Copy a file out of the volume, streaming."""
        with self._translated(f"read {key}"), self._path(key).open("rb") as source, path.open("wb") as target:
            return _pour(source, target)

    def write(self, key: str, data: bytes) -> Content:
        """Store bytes, whole or not at all."""
        content = hash_bytes(data)
        if not is_there(self, key, content):
            self._place(key, lambda file: file.write(data))
        return content

    def write_file(self, key: str, path: Path) -> Content:
        """Store a local file, whole or not at all."""
        content = hash_file(path)
        if not is_there(self, key, content):
            with path.open("rb") as source:
                self._place(key, lambda file: shutil.copyfileobj(source, file, CHUNK_BYTES))
        return content

    def copy(self, source: str, target: str) -> None:
        """Copy within the volume."""
        with self._translated(f"copy {source}"):
            path = self._path(source)
            self.write_file(target, path)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys, in this order, and folders that are empty then."""
        for key in keys:
            with self._translated(f"delete {key}"):
                path = self._root / key
                self._path(key).unlink(missing_ok=True)
                self._prune(path.parent)

    def _prune(self, folder: Path) -> None:
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone: either way nothing is left to do here
                return
            folder = folder.parent

    def _place(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        with self._translated(f"write {key}"):
            target = self._path(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
            try:
                with unfinished.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
            _flush_folder(target.parent)

    def _path(self, key: str) -> Path:
        path = self._root / key
        try:
            is_inside = path.resolve().is_relative_to(self._root.resolve())
        except RuntimeError as error:  # of Python's own, for links that lead round in a circle
            raise ObjectMissing(f"{key} in {self.address} is a link that leads nowhere") from error
        if ".." in path.parts or not (is_inside or (self._follows_links and path.is_relative_to(self._root))):
            raise ObjectMissing(f"{key} leads out of {self.address}: only what lies inside it is read")
        return path

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translate(error, doing) from error

    def _translate(self, error: OSError, doing: str) -> AtelierError:
        if self._follows_links and isinstance(error, (FileNotFoundError, PermissionError)):
            return DatasetUnusable(
                f"{error.filename or self._root} cannot be read ({error.strerror}): let yourself read it, or take it "
                "out of the folder"
            )
        if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return ObjectMissing(f"could not {doing}: it is not in {self.address}")
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return StorageNotConfigured(
                f"may not {doing} in {self.address}: give the pod's group write access (fsGroup), and see that the "
                "claim is not read-only"
            )
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return StorageUnavailable(f"could not {doing}: {self.address} is full: enlarge the claim or delete runs")
        return StorageUnavailable(f"could not {doing} in {self.address}: {error.strerror}")


def _pour(source: BinaryIO, target: BinaryIO) -> Content:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        target.write(chunk)
    return Content(digest.hexdigest(), size)


def _flush_folder(folder: Path) -> None:
    """Make a rename in this folder survive a crash of the node."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
