"""Small datasets in folders, written and read back: what is read of each picture, and what is named as wrong."""

from __future__ import annotations

from pathlib import Path

from atelier_contract.dataset import DatasetLayout
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.layouts import Listing, read_listing
from atelier_materials.dataset.sources import DatasetFolder, Folder
from atelier_materials.store.volume_store import VolumeStore

Files = dict[str, bytes | str]


def lay_out(folder: Path, files: Files) -> DatasetFolder:
    """Write files into a folder; pictures need not be any here."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return DatasetFolder(Folder(VolumeStore(folder), ""), "Upload")


def read(folder: Path, files: Files, layout: DatasetLayout | None = None) -> tuple[Listing, dict[str, list[str]]]:
    """Return what is read, and paths with details by finding."""
    findings = Findings()
    listing = read_listing(lay_out(folder, files), layout, findings)
    found: dict[str, list[str]] = {}
    for file in findings.list_files():
        found.setdefault(file.finding, []).append(f"{file.path} {file.detail}".strip())
    return listing, found


def captions(listing: Listing) -> dict[str, tuple[str, ...]]:
    """Return the captions by the pictures' paths."""
    return {picture.file.path: picture.captions for picture in listing.pictures}
