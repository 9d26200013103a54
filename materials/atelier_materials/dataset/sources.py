"""Where the pictures of a dataset lie: a shelf, and a folder of keys on it.

An uploaded dataset has no folder: its finished pushes say which paths it has, and its contents lie under their digests.
A push that never finished is invisible here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import DatasetItem, PushedFile, PushManifest
from atelier_materials.errors import DatasetUnusable
from atelier_materials.store.documents import read_document
from atelier_materials.store.protocol import Shelf


@dataclass(frozen=True)
class SourceFile:
    """A file of a source."""

    path: str
    """Relative to the source's root, as the user knows it."""
    key: str
    """Where it lies on the shelf."""
    bytes: int


@dataclass(frozen=True)
class Folder:
    """A folder of keys on a shelf."""

    shelf: Shelf
    prefix: str
    is_public: bool = False
    """Somebody else's repository: what lies beside the needed files is not the user's to remove."""

    @property
    def address(self) -> str:
        """What to call it in messages."""
        return f"{self.prefix or 'the root'} in {self.shelf.address}"

    def files(self) -> Iterator[SourceFile]:
        """Yield the files below, sorted by key."""
        start = len(self.prefix) + 1 if self.prefix else 0
        for entry in self.shelf.list(self.prefix):
            yield SourceFile(entry.key[start:], entry.key, entry.bytes)

    def key_of(self, path: str) -> str:
        """Return where a relative path lies."""
        return f"{self.prefix}/{path}" if self.prefix else path


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset in a bucket or volume: its files lie under their paths."""

    folder: Folder
    kind: Literal["S3", "Volume", "Upload"]
    """Upload: a folder on a laptop, as it will be once it is pushed."""

    @property
    def shelf(self) -> Shelf:
        """Where the files lie."""
        return self.folder.shelf

    def files(self) -> Iterator[SourceFile]:
        """Yield every file. Raises DatasetUnusable where there is none at all."""
        empty = True
        for file in self.folder.files():
            empty = False
            yield file
        if empty and self.kind == "Upload":
            raise DatasetUnusable("the folder holds no file: put pictures into it, or name the folder that has them")
        if empty:
            raise DatasetUnusable(
                f"nothing lies at {self.folder.address}: correct spec.source of the Dataset, or put pictures there"
            )

    def key_of(self, item: DatasetItem) -> str:
        """Return where a picture of a revision lies."""
        return self.folder.key_of(item.path)

    def key_of_mask(self, item: DatasetItem) -> str:
        """Return where the mask of a picture that has one lies."""
        return self.folder.key_of(item.mask_path or "")


@dataclass(frozen=True)
class UploadedDataset:
    """A dataset made of finished pushes: its files lie under their digests."""

    shelf: Shelf
    layout: NamespaceLayout
    name: str
    kind: Literal["Upload"] = "Upload"

    def files(self) -> Iterator[SourceFile]:
        """Yield every file of the pushes taken together. Raises DatasetUnusable where none is finished."""
        pushes = self.list_pushes()
        if not pushes:
            raise DatasetUnusable(
                f"nothing has been pushed to Dataset {self.name}: run kubectl atelier dataset push FOLDER; a push that "
                "broke off does not count, push again"
            )
        merged = merge_pushes(pushes)
        for path in sorted(merged):
            file = merged[path]
            yield SourceFile(path, self.layout.blob(self.name, file.sha256), file.bytes)

    def key_of(self, item: DatasetItem) -> str:
        """Return where a picture of a revision lies."""
        return self.layout.blob(self.name, item.sha256)

    def key_of_mask(self, item: DatasetItem) -> str:
        """Return where the mask of a picture that has one lies."""
        return self.layout.blob(self.name, item.mask_sha256 or "")

    def list_pushes(self) -> list[PushManifest]:
        """Return every finished push, in no order."""
        keys = [entry.key for entry in self.shelf.list(self.layout.pushes(self.name))]
        return [read_document(self.shelf, key, PushManifest) for key in keys]

    def list_blobs(self) -> dict[str, int]:
        """Return sizes of all pushed contents by key: one listing instead of a question for each picture."""
        return {entry.key: entry.bytes for entry in self.shelf.list(self.layout.blobs(self.name))}


Dataset = DatasetFolder | UploadedDataset


def merge_pushes(pushes: Iterable[PushManifest]) -> dict[str, PushedFile]:
    """Return the files of a dataset by path: those of its pushes in order of time, later ones over earlier ones."""
    merged: dict[str, PushedFile] = {}
    for push in sorted(pushes, key=lambda push: push.pushed_at):
        if push.replaces:
            merged.clear()
        merged.update({file.path: file for file in push.files})
    return merged
