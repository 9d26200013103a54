"""Which caption belongs to which picture: sidecars by their stems, rows of tables by the paths in them.

In: the sorted files of a dataset. Out: texts by picture. What belongs to no picture, or cannot be read, is named.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import CaptionUnreadable, read_lines, read_table, stem_of, stem_of_numbered
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


def read_sidecars(dataset: Dataset, found: SortedFiles, findings: Findings) -> dict[str, list[tuple[str, str]]]:
    """Return suffix and text of caption files by the stem of their pictures, in the order of their numbers."""
    stems = set(map(stem_of_file, found.pictures))
    preferred: dict[str, SourceFile] = {}
    for sidecar in found.sidecars:
        stem, is_text = stem_of(sidecar.path), sidecar.path.lower().endswith(".txt")
        if find_owner(sidecar, stems) is None:
            findings.add(Finding.CAPTION_WITHOUT_PICTURE, sidecar.path)
        elif stem not in preferred or is_text:
            preferred[stem] = sidecar
    wanted = [preferred[stem] for stem in sorted(preferred, key=lambda stem: (len(stem), stem))]  # NAME.10 after NAME.9
    texts: dict[str, list[tuple[str, str]]] = {}

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
            texts.setdefault(owner, []).append((PurePosixPath(file.path).suffix.lower(), " ".join(lines)))
    return texts


def find_owner(sidecar: SourceFile, stems: set[str]) -> str | None:
    """Return the stem of a sidecar's picture, or None where there is no such picture."""
    stem = stem_of(sidecar.path)
    if stem in stems:
        return stem
    numbered = stem_of_numbered(stem)
    return numbered if numbered in stems else None
