"""What tests of pushing share: a store opened without a cluster, a meter that counts, folders with files to send."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.layout import NamespaceLayout
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from atelier_studio.edges.store import StudioStore

NAMESPACE = "art"


class CountingMeter:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.moved = self.skipped = self.files = 0
        self._lock = threading.Lock()

    def move(self, count: int) -> None:
        with self._lock:
            self.moved += count

    def skip(self, count: int) -> None:
        with self._lock:
            self.skipped += count

    def finish_file(self) -> None:
        with self._lock:
            self.files += 1


class FakeCluster:
    """A namespace whose Secret describes a bucket."""

    def __init__(self, secret: dict[str, str], cluster_uid: str | None = "cluster-1") -> None:
        self.namespace = NAMESPACE
        self.secret = secret
        self._cluster_uid = cluster_uid

    def read_secret(self, name: str) -> dict[str, str]:
        return self.secret if name == names.STORE_SECRET else {}

    def namespace_uid(self) -> str:
        return "namespace-1"

    def cluster_uid(self) -> str | None:
        return self._cluster_uid


def open_bucket(bucket: BucketDescription) -> StudioStore:
    """Return a bucket as `open_store` would; a server that does not answer fails the test at once."""
    patience = Patience(seconds=0)
    return StudioStore(S3Store(bucket, patience), NamespaceLayout(NAMESPACE, bucket.prefix), bucket, patience)


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder and return it."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def lock_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder be one that may not be listed, for root, too."""
    scan = os.scandir

    def refuse(path: str | Path | int):
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


def lock_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Let a file be one that may not be read, for root, too."""
    open_path = Path.open

    def refuse(path: Path, *arguments):
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return open_path(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
