"""The files of a dataset by what they are for, told from their names alone.

In: the files of a source, as it lists them. Out: pictures, sidecars, tables, masks. Nothing is opened here; files whose
names are not fit to keep are named and left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from atelier_materials.dataset.captions import SIDECAR_SUFFIXES, is_sidecar, is_table, stem_of
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.naming import judge_name
from atelier_materials.dataset.sources import SourceFile
from atelier_materials.errors import DatasetUnusable

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".jxl", ".psd", ".eps", ".svg"}
)
"""What a person would call a picture: of these the ones that cannot be used are named. Other files are passed over."""
SIDECAR_SUFFIXES_WITHOUT_DOT = tuple(suffix.removeprefix(".") for suffix in SIDECAR_SUFFIXES)
"""How `cattxt` or `cat.jpgtxt` end, which a tool writes that was told an extension without its dot."""
MASK_STEM = ".mask"
"""`NAME.mask.png`, or of another picture's suffix, says which part of `NAME.png` to learn: it is no picture itself."""
CONFIG_SUFFIX = ".toml"
MAX_FILES = 300_000
"""Of a source: a hundred thousand pictures with captions and masks, which some hundred megabytes hold."""


@dataclass
class SortedFiles:
    """The files of a dataset by what they are for."""

    pictures: list[SourceFile] = field(default_factory=list)
    sidecars: list[SourceFile] = field(default_factory=list)
    tables: list[SourceFile] = field(default_factory=list)
    misnamed: list[SourceFile] = field(default_factory=list)
    """Meant as sidecars, it seems, but for the dot of their suffix."""
    masks: dict[str, SourceFile] = field(default_factory=dict)
    """By the stem of their picture."""
    configs: list[SourceFile] = field(default_factory=list)
    """TOML files at the root, which may say what the folders are."""


def sort_files(files: Iterable[SourceFile], findings: Findings) -> SortedFiles:
    """Return the files by what they are for, each sorted by path; hidden ones and those of no use are passed over.

    Raises:
        DatasetUnusable: there are more than can be a dataset.
    """
    found = SortedFiles()
    for number, file in enumerate(files):
        if number >= MAX_FILES:
            raise DatasetUnusable(f"more than {MAX_FILES:,} files lie there: split them into several Datasets")
        path = PurePosixPath(file.path)
        if not any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            _place(found, file, path, findings)
    for files_of_kind in (found.pictures, found.sidecars, found.tables, found.misnamed, found.configs):
        files_of_kind.sort(key=lambda file: file.path)
    return found


def _place(found: SortedFiles, file: SourceFile, path: PurePosixPath, findings: Findings) -> None:
    suffix, is_mask = path.suffix.lower(), path.stem.lower().endswith(MASK_STEM)
    places = (
        (suffix in PICTURE_SUFFIXES, found.pictures),
        (is_table(file.path), found.tables),
        (is_sidecar(file.path), found.sidecars),
        (suffix == CONFIG_SUFFIX and len(path.parts) == 1, found.configs),
        (path.name.lower().endswith(SIDECAR_SUFFIXES_WITHOUT_DOT), found.misnamed),
    )
    place = next((place for fits, place in places if fits), None)
    if place is None:
        return
    fault = judge_name(file.path)
    if fault is not None:
        findings.add(fault, file.path)
    elif is_mask and place is found.pictures:
        found.masks[stem_of(file.path)[: -len(MASK_STEM)]] = file
    else:
        place.append(file)
