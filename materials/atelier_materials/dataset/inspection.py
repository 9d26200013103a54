"""What a dataset is: every file of it looked at once, on a laptop and in the inspection's pod alike.

In: a dataset, wherever it lies. Out: its usable pictures, what was found, and the digest of the revision that follows.
A few files are looked at at a time, so that memory does not grow with their number beyond a row each. The digest
follows from pictures and captions alone: looking twice, from two places, finds the same revision.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from atelier_contract.base import digest_of
from atelier_contract.dataset import DatasetLayout, ResolutionStatus
from atelier_contract.manifests import DatasetItem, DatasetRevision
from atelier_contract.reasons import Finding
from atelier_materials.dataset.buckets import LONGEST_RATIO
from atelier_materials.dataset.captions import MOST_CAPTIONS
from atelier_materials.dataset.consistency import CaptionRules, SeenPicture, judge_dataset
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.layouts import ListedPicture, Listing, read_listing
from atelier_materials.dataset.near_duplicates import GRID_PX
from atelier_materials.dataset.pictures import (
    MAX_FILE_BYTES,
    MIN_SIDE_PX,
    PictureFacts,
    PictureRefused,
    look_at_picture,
)
from atelier_materials.dataset.sources import Dataset, SourceFile
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.protocol import Content

SMALL_LOSS = 0.05
"""Share of a picture's length that may be cropped away without a word: no eye misses it."""
OVERSIZED_PIXELS = 40_000_000
"""Ten times what the largest `tuning.resolution`, 2,048 px, can show."""
MOST_THUMBNAILS = 2000
"""Kept for a report, of which it shows the telling ones: about 6 MB."""


@dataclass(frozen=True)
class Checks:
    """What an inspection is told beside the dataset."""

    layout: DatasetLayout | None = None
    """How the files lie. None: it is detected."""
    captions: CaptionRules = field(default_factory=CaptionRules)
    """What captions are held against."""
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
    thumbnails: dict[str, bytes]
    """Small JPEGs of the first pictures, by path."""

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
    listing = read_listing(dataset, checks.layout, findings)
    scratch.mkdir(parents=True, exist_ok=True)
    look = _Look(dataset, scratch, findings, checks)
    seen = list(_look_at_all(look, listing))
    judge_dataset(seen, (picture.file.path for picture in listing.pictures), checks.captions, findings)
    return Inspection(dataset.kind, listing, [picture.item for picture in seen], findings, look.thumbnails)


@dataclass(frozen=True)
class _Look:
    """What looking at any picture needs, and what is kept of it."""

    dataset: Dataset
    scratch: Path
    findings: Findings
    checks: Checks
    thumbnails: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class _Looked:
    """A picture's file: fetched, hashed and decoded."""

    content: Content
    facts: PictureFacts | None
    """None: it is no picture that can be used."""
    refusal: Finding | None = None
    grid: bytes = b""


def _look_at_all(look: _Look, listing: Listing) -> Iterator[SeenPicture]:
    small = [picture for picture in listing.pictures if picture.file.bytes <= MAX_FILE_BYTES]
    for picture in listing.pictures:
        if picture.file.bytes > MAX_FILE_BYTES:
            look.findings.add(Finding.PICTURE_TOO_LARGE, picture.file.path)

    def fetch_and_look(numbered: tuple[int, ListedPicture]) -> tuple[ListedPicture, _Looked]:
        number, picture = numbered
        return picture, _fetch_and_look(look, picture.file, f"picture-{number}")

    for done, (picture, looked) in enumerate(map_at_once(fetch_and_look, list(enumerate(small))), 1):
        if look.checks.on_progress is not None:
            look.checks.on_progress(done, len(small))
        path, facts = picture.file.path, looked.facts
        if facts is None:
            look.findings.add(looked.refusal or Finding.UNREADABLE_PICTURE, path)
            continue
        _judge_picture(path, facts, look.findings)
        if len(look.thumbnails) < MOST_THUMBNAILS:
            look.thumbnails[path] = facts.thumbnail
        item = _build_item(picture, looked.content, facts, look.findings)
        yield SeenPicture(_add_mask(item, picture.mask, look), facts.dhash, looked.grid)
    for mask in listing.stray_masks:
        look.findings.add(Finding.MASK_WITHOUT_PICTURE, mask.path)


def _fetch_and_look(look: _Look, file: SourceFile, name: str) -> _Looked:
    """Copy a file into scratch space, look at it and remove it again. Runs beside others of its kind."""
    local = look.scratch / name
    try:
        content = look.dataset.shelf.fetch(file.key, local)
        facts = look_at_picture(local)
    except PictureRefused as refusal:
        return _Looked(content, None, refusal.finding)
    finally:
        local.unlink(missing_ok=True)
    return _Looked(content, facts, grid=shrink_to_grid(facts.thumbnail))


def shrink_to_grid(thumbnail: bytes) -> bytes:
    """Return a thumbnail's colours in 8 x 8 cells, row by row, RGB."""
    with Image.open(io.BytesIO(thumbnail), formats=["JPEG"]) as picture:
        return picture.convert("RGB").resize((GRID_PX, GRID_PX), Image.Resampling.BOX).tobytes()


def _judge_picture(path: str, facts: PictureFacts, findings: Findings) -> None:
    size = f"{facts.width_px} x {facts.height_px} px"
    if min(facts.width_px, facts.height_px) < MIN_SIDE_PX:
        findings.add(Finding.PICTURE_TOO_SMALL, path, size)
    longer, shorter = max(facts.width_px, facts.height_px), min(facts.width_px, facts.height_px)
    if longer * (1 - SMALL_LOSS) > shorter * LONGEST_RATIO:
        findings.add(Finding.PICTURE_CROPPED, path, size)
    if facts.width_px * facts.height_px > OVERSIZED_PIXELS:
        findings.add(Finding.PICTURE_OVERSIZED, path, size)
    if facts.is_animated:
        findings.add(Finding.ANIMATED_PICTURE, path)
    if facts.has_alpha:
        findings.add(Finding.TRANSPARENT_PICTURE, path)
    if facts.has_profile:
        findings.add(Finding.COLOURS_CONVERTED, path, facts.mode)
    if facts.is_turned:
        findings.add(Finding.PICTURE_TURNED, path)


def _build_item(picture: ListedPicture, content: Content, facts: PictureFacts, findings: Findings) -> DatasetItem:
    path, captions = picture.file.path, [caption for caption in picture.captions if caption]
    if picture.repeats > 1:
        findings.add(Finding.FOLDER_REPEATS, path, f"{picture.repeats} times a pass")
    if not captions:
        findings.add(Finding.CAPTION_MISSING, path)
    return DatasetItem(
        path=path,
        bytes=content.bytes,
        sha256=content.sha256,
        width=facts.width_px,
        height=facts.height_px,
        caption=captions[0] if captions else None,
        other_captions=list(dict.fromkeys(captions[1:MOST_CAPTIONS])),
        repeats=picture.repeats,
    )


def _add_mask(item: DatasetItem, mask: SourceFile | None, look: _Look) -> DatasetItem:
    """Return the picture with its mask, or as it was where there is none that can be one of it."""
    if mask is None:
        return item
    looked = _fetch_and_look(look, mask, "mask") if mask.bytes <= MAX_FILE_BYTES else None
    facts = looked.facts if looked is not None else None
    if looked is None or facts is None or (facts.width_px, facts.height_px) != (item.width, item.height):
        detail = f"{facts.width_px} x {facts.height_px} px" if facts is not None else ""
        look.findings.add(Finding.MASK_UNUSABLE, mask.path, detail)
        return item
    return item.model_copy(update={"mask_path": mask.path, "mask_sha256": looked.content.sha256})
