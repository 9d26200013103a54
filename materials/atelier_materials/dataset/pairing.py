"""Which caption belongs to which picture: sidecars by their stems, rows of tables by the paths in them.

In: the sorted files of a dataset. Out: texts by picture. What belongs to no picture, or cannot be read, is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import (
    SIDECAR_SUFFIXES,
    CaptionUnreadable,
    read_lines,
    read_table,
    stem_of,
    stem_of_numbered,
)
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.listing import SortedFiles
from atelier_materials.dataset.sources import Dataset, SourceFile
from atelier_materials.store.parallel import map_at_once


def stem_of_file(file: SourceFile) -> str:
    """Return what a picture and its sidecar share."""
    return stem_of(file.path)


def read_tables(dataset: Dataset, found: SortedFiles, findings: Findings) -> dict[str, list[str]]:
    """Return what the tables say by the pictures' paths."""
    captions: dict[str, list[str]] = {}
    for file in found.tables:
        try:
            table = read_table(dataset.shelf, file)
        except CaptionUnreadable as refusal:
            findings.add(refusal.finding, file.path, refusal.detail)
            continue
        captions |= table.captions
        if table.fault:
            findings.add(Finding.CAPTION_UNREADABLE, file.path, table.fault)
    for path in sorted(captions.keys() - {picture.path for picture in found.pictures}):
        findings.add(Finding.CAPTION_WITHOUT_PICTURE, path)
    return captions


def read_sidecars(
    dataset: Dataset, found: SortedFiles, findings: Findings, suffixes: Mapping[str, str | None]
) -> dict[str, list[str]]:
    """Return the texts of caption files by the stem of their pictures, in the order of their numbers.

    Args:
        dataset: where the files lie.
        found: its files.
        findings: what is wrong is added to.
        suffixes: which caption files count where somebody said so, by the stem of their pictures.
    """
    stems = set(map(stem_of_file, found.pictures))
    preferred: dict[str, SourceFile] = {}
    for sidecar in found.sidecars:
        stem, suffix = stem_of(sidecar.path), PurePosixPath(sidecar.path).suffix.lower()
        owner = find_owner(sidecar, stems)
        if owner is None:
            findings.add(Finding.CAPTION_WITHOUT_PICTURE, sidecar.path)
        elif suffixes.get(owner) in {None, suffix} and (stem not in preferred or suffix == SIDECAR_SUFFIXES[0]):
            preferred[stem] = sidecar
    wanted = [preferred[stem] for stem in sorted(preferred, key=lambda stem: (len(stem), stem))]  # NAME.10 after NAME.9
    texts: dict[str, list[str]] = {}

    def read(file: SourceFile) -> list[str] | CaptionUnreadable:
        try:
            return read_lines(dataset.shelf, file)
        except CaptionUnreadable as refusal:
            return refusal

    for file, lines in zip(wanted, map_at_once(read, wanted), strict=True):
        if isinstance(lines, CaptionUnreadable):
            findings.add(lines.finding, file.path)
            continue
        if len(lines) > 1:
            findings.add(Finding.CAPTION_LINES_JOINED, file.path)
        owner = find_owner(file, stems)
        if lines and owner is not None:
            texts.setdefault(owner, []).append(" ".join(lines))
    return texts


def find_owner(sidecar: SourceFile, stems: set[str]) -> str | None:
    """Return the stem of a sidecar's picture, or None where there is no such picture."""
    stem = stem_of(sidecar.path)
    if stem in stems:
        return stem
    numbered = stem_of_numbered(stem)
    return numbered if numbered in stems else None
