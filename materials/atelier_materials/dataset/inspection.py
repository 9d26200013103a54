"""What a dataset is: every file of it looked at once, on a laptop and in the inspection's pod alike.

In: a dataset, wherever it lies. Out: its usable pictures, what was found, and the digest of the revision that follows.
Files are looked at a handful at a time, so that memory does not grow with their number beyond a row each. The digest
follows from pictures and captions alone: looking twice, from two places, finds the same revision.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atelier_contract.base import digest_of
from atelier_contract.dataset import ResolutionStatus
from atelier_contract.manifests import DatasetItem, DatasetRevision
from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import MOST_CAPTIONS, read_folder_name, stem_of
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.listing import Listing, read_captions, sort_files
from atelier_materials.dataset.pictures import MAX_FILE_BYTES, MIN_SIDE_PX, PictureRefused, look_at_picture
from atelier_materials.dataset.sources import Dataset, SourceFile
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.protocol import Content

HELD_OUT_FROM_PICTURES = 12
"""Below, none are held out (DESIGN: truth of the result)."""
LONG_CAPTION_WORDS = 60
"""About 77 tokens."""


@dataclass(frozen=True)
class Checks:
    """What an inspection is told beside the dataset."""

    on_progress: Callable[[int, int], None] | None = None
    """Called after each picture with how many were looked at, of how many."""


@dataclass(frozen=True)
class Inspection:
    """A dataset that was looked at."""

    kind: Literal["Upload", "S3", "Volume"]
    listing: Listing
    items: list[DatasetItem]
    """Usable pictures, sorted by path."""
    findings: Findings

    @property
    def digest(self) -> str:
        """The revision: equal pictures and captions from the same kind of source have the same."""
        return digest_of([self.kind, [item.as_json() for item in self.items]])

    def build_revision(self, name: str) -> DatasetRevision:
        """Return the manifest of the revision."""
        return DatasetRevision(dataset=name, source=self.kind, items=self.items, findings=self.findings.as_statuses())

    def measure_sides(self) -> ResolutionStatus:
        """Return the shorter sides of the pictures, of which there is one at least."""
        sides = [min(item.width, item.height) for item in self.items]
        return ResolutionStatus(min_px=min(sides), median_px=int(statistics.median(sides)), max_px=max(sides))


def inspect_dataset(dataset: Dataset, scratch: Path, *, checks: Checks) -> Inspection:
    """Look at every file of a dataset.

    Args:
        dataset: where the files lie.
        scratch: a folder for copies, which are removed once looked at.
        checks: what to look for beside what is always looked for.

    Raises:
        DatasetUnusable: there is nothing at all.
        AtelierError: the source cannot be read.
    """
    findings = Findings()
    listing = sort_files(dataset.files())
    captions = read_captions(dataset, listing, findings)
    scratch.mkdir(parents=True, exist_ok=True)
    items = list(_look_at_all(_Look(dataset, scratch, findings, checks), listing, captions))
    _judge_whole(items, findings)
    return Inspection(dataset.kind, listing, items, findings)


@dataclass(frozen=True)
class _Look:
    """What looking at any picture needs."""

    dataset: Dataset
    scratch: Path
    findings: Findings
    checks: Checks


def _look_at_all(look: _Look, listing: Listing, captions: dict[str, list[str]]) -> Iterator[DatasetItem]:
    findings = look.findings

    def fetch(numbered: tuple[int, SourceFile]) -> tuple[SourceFile, Path, Content]:
        number, file = numbered
        local = look.scratch / f"picture-{number}"
        return file, local, look.dataset.shelf.fetch(file.key, local)

    small = [file for file in listing.pictures if file.bytes <= MAX_FILE_BYTES]
    for file in listing.pictures:
        if file.bytes > MAX_FILE_BYTES:
            findings.add(Finding.PICTURE_TOO_LARGE, file.path)
    for number, (file, local, content) in enumerate(map_at_once(fetch, list(enumerate(small))), 1):
        item = _look_at_one(file, local, content.sha256, captions.get(file.path, []), findings)
        local.unlink()
        if look.checks.on_progress is not None:
            look.checks.on_progress(number, len(small))
        mask = listing.masks.get(stem_of(file.path))
        if item is not None:
            yield _add_mask(item, mask, look) if mask else item
    stems = {stem_of(picture.path) for picture in listing.pictures}
    for stem in sorted(listing.masks.keys() - stems):
        findings.add(Finding.MASK_WITHOUT_PICTURE, listing.masks[stem].path)


def _add_mask(item: DatasetItem, mask: SourceFile, look: _Look) -> DatasetItem:
    """Return the picture with its mask, or as it was where the mask cannot be one of it."""
    local = look.scratch / "mask"
    size = None
    if mask.bytes <= MAX_FILE_BYTES:
        content = look.dataset.shelf.fetch(mask.key, local)
        with suppress(PictureRefused):
            facts = look_at_picture(local)
            size = facts.width_px, facts.height_px
        local.unlink()
    if size != (item.width, item.height):
        look.findings.add(Finding.MASK_UNUSABLE, mask.path)
        return item
    return item.model_copy(update={"mask_path": mask.path, "mask_sha256": content.sha256})


def _look_at_one(
    file: SourceFile, local: Path, sha256: str, captions: list[str], findings: Findings
) -> DatasetItem | None:
    try:
        facts = look_at_picture(local)
    except PictureRefused as refusal:
        findings.add(refusal.finding, file.path)
        return None
    repeats, words = read_folder_name(file.path)
    if repeats > 1:
        findings.add(Finding.FOLDER_REPEATS, file.path)
    captions = [caption for caption in captions if caption] or ([words] if words else [])
    if facts.is_animated:
        findings.add(Finding.ANIMATED_PICTURE, file.path)
    if min(facts.width_px, facts.height_px) < MIN_SIDE_PX:
        findings.add(Finding.PICTURE_TOO_SMALL, file.path)
    if not captions:
        findings.add(Finding.CAPTION_MISSING, file.path)
    elif max(len(caption.split()) for caption in captions) > LONG_CAPTION_WORDS:
        findings.add(Finding.CAPTION_TOO_LONG, file.path)
    return DatasetItem(
        path=file.path,
        bytes=local.stat().st_size,
        sha256=sha256,
        width=facts.width_px,
        height=facts.height_px,
        caption=captions[0] if captions else None,
        other_captions=list(dict.fromkeys(captions[1:MOST_CAPTIONS])),
        repeats=repeats,
    )


def _judge_whole(items: list[DatasetItem], findings: Findings) -> None:
    """Add what only the whole dataset shows."""
    seen: set[str] = set()
    for item in items:
        if item.sha256 in seen:
            findings.add(Finding.DUPLICATE_PICTURE, item.path)
        seen.add(item.sha256)
    if 0 < len(items) < HELD_OUT_FROM_PICTURES:
        findings.add(Finding.FEW_PICTURES, f"{len(items)} pictures")
