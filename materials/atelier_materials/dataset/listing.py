"""The files of a dataset by what they are for, and the captions they hold.

In: the files of a source, as it lists them. Out: pictures, the captions of each, its mask. No picture is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import (
    SIDECAR_SUFFIXES,
    CaptionUnreadable,
    is_sidecar,
    is_table,
    read_sidecar,
    read_table,
    stem_of,
    stem_of_numbered,
)
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.sources import Dataset, SourceFile

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jxl", ".psd", ".eps", ".svg"}
)
"""What a person would call a picture: of these the ones that cannot be used are named. Other files are passed over."""
SIDECAR_SUFFIXES_WITHOUT_DOT = tuple(suffix.removeprefix(".") for suffix in SIDECAR_SUFFIXES)
"""How `cattxt` or `cat.jpgtxt` end, which a tool writes that was told an extension without its dot."""
MASK_STEM = ".mask"
"""`NAME.mask.png`, or of another picture's suffix, says which part of `NAME.png` to learn: it is no picture itself."""


@dataclass
class Listing:
    """The files of a dataset by what they are for."""

    pictures: list[SourceFile] = field(default_factory=list)
    sidecars: dict[str, SourceFile] = field(default_factory=dict)
    """By the stem they share with a picture; the preferred suffix wins."""
    tables: list[SourceFile] = field(default_factory=list)
    misnamed: list[SourceFile] = field(default_factory=list)
    """Meant as sidecars, it seems, but for the dot of their suffix."""
    masks: dict[str, SourceFile] = field(default_factory=dict)
    """By the stem of their picture."""


def sort_files(files: Iterator[SourceFile]) -> Listing:
    """Return the files by what they are for; hidden ones and those of no use are passed over."""
    listing = Listing()
    for file in files:
        path = PurePosixPath(file.path)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            continue
        if path.stem.lower().endswith(MASK_STEM) and path.suffix.lower() in PICTURE_SUFFIXES:
            listing.masks[stem_of(file.path)[: -len(MASK_STEM)]] = file
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            listing.pictures.append(file)
        elif is_table(file.path):
            listing.tables.append(file)
        elif is_sidecar(file.path):
            stem = stem_of(file.path)
            if stem not in listing.sidecars or path.suffix.lower() == ".txt":
                listing.sidecars[stem] = file
        elif path.name.lower().endswith(SIDECAR_SUFFIXES_WITHOUT_DOT):
            listing.misnamed.append(file)
    listing.pictures.sort(key=lambda file: file.path)
    return listing


def read_captions(dataset: Dataset, listing: Listing, findings: Findings) -> dict[str, list[str]]:
    """Return the captions by the pictures' paths."""
    for file in listing.misnamed:
        findings.add(Finding.CAPTION_MISNAMED, file.path)
    captions: dict[str, list[str]] = {}
    for table in listing.tables:
        try:
            captions |= read_table(dataset.shelf, table)
        except CaptionUnreadable:
            findings.add(Finding.CAPTION_UNREADABLE, table.path)
    stems: dict[str, list[SourceFile]] = {}
    for picture in listing.pictures:
        stems.setdefault(stem_of(picture.path), []).append(picture)
    for path in sorted(captions.keys() - {picture.path for picture in listing.pictures}):
        findings.add(Finding.CAPTION_WITHOUT_PICTURE, path)
    beside: dict[str, list[str]] = {}
    for stem, sidecar in sorted(listing.sidecars.items(), key=_by_number):
        owner = stem if stem in stems else stem_of_numbered(stem)
        if owner is None or owner not in stems:
            findings.add(Finding.CAPTION_WITHOUT_PICTURE, sidecar.path)
            continue
        try:
            beside.setdefault(owner, []).append(read_sidecar(dataset.shelf, sidecar))
        except CaptionUnreadable:
            findings.add(Finding.CAPTION_UNREADABLE, sidecar.path)
    for stem, texts in beside.items():
        for picture in stems[stem]:
            captions[picture.path] = [text for text in texts if text] or captions.get(picture.path, [])
    return captions


def _by_number(sidecar: tuple[str, SourceFile]) -> tuple[int, str]:
    """Order `NAME.10` after `NAME.9`, and both after `NAME`."""
    return len(sidecar[0]), sidecar[0]
