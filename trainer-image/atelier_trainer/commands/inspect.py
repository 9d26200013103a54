"""`inspect`: look at every file of a dataset and write down what it is.

In: an InspectInput. Out: an immutable revision manifest in the store, and its digest, counts and findings as last
words. Files are looked at one at a time, so that memory does not grow with their number beyond a row each.
A revision's digest follows from its pictures and captions alone: looking twice finds the same revision.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from atelier_contract.base import digest_of
from atelier_contract.dataset import ResolutionStatus
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import InspectInput
from atelier_contract.manifests import DatasetItem, DatasetRevision
from atelier_contract.reasons import Finding, Reason
from atelier_contract.roles import Role
from atelier_contract.termination import InspectionResult, TerminationReport
from atelier_materials.dataset.captions import MOST_CAPTIONS, read_folder_name, stem_of
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.listing import Listing, read_captions, sort_files
from atelier_materials.dataset.pictures import MAX_FILE_BYTES, MIN_SIDE_PX, PictureRefused, look_at_picture
from atelier_materials.dataset.sources import Dataset, SourceFile
from atelier_materials.store.documents import write_document
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import Content
from atelier_trainer.commands.ending import Ending, end_well, shorten
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.edges.sources import open_dataset
from atelier_trainer.settings import TrainerSettings

HELD_OUT_FROM_PICTURES = 12
"""Below, none are held out (DESIGN: truth of the result)."""
LONG_CAPTION_WORDS = 60
"""About 77 tokens."""


def inspect(settings: TrainerSettings, asked: InspectInput, patience: Patience) -> Ending:
    """Look at a dataset and write its revision.

    Raises:
        DatasetUnusable: there is no source.
        AtelierError: the store cannot be used.
    """
    home = open_home(settings, asked.store, patience)
    dataset = open_dataset(settings, home, asked.dataset, patience)
    findings = Findings()
    listing = sort_files(dataset.files())
    captions = read_captions(dataset, listing, findings)
    scratch = settings.scratch_dir / "inspect"
    scratch.mkdir(parents=True, exist_ok=True)
    items = list(_look_at_all(dataset, listing, captions, scratch, findings))
    _judge_whole(items, findings)
    if not items:
        return _end_unusable(asked, listing, findings)
    return _end_with_revision(home, asked, dataset, items, findings)


def _look_at_all(
    dataset: Dataset, listing: Listing, captions: dict[str, list[str]], scratch: Path, findings: Findings
) -> Iterator[DatasetItem]:
    def fetch(numbered: tuple[int, SourceFile]) -> tuple[SourceFile, Path, Content]:
        number, file = numbered
        local = scratch / f"picture-{number}"
        return file, local, dataset.shelf.fetch(file.key, local)

    small = [file for file in listing.pictures if file.bytes <= MAX_FILE_BYTES]
    for file in listing.pictures:
        if file.bytes > MAX_FILE_BYTES:
            findings.add(Finding.PICTURE_TOO_LARGE, file.path)
    for file, local, content in map_at_once(fetch, list(enumerate(small))):
        item = _look_at_one(file, local, content.sha256, captions.get(file.path, []), findings)
        local.unlink()
        mask = listing.masks.get(stem_of(file.path))
        if item is not None:
            yield _add_mask(item, mask, dataset, scratch, findings) if mask else item
    stems = {stem_of(picture.path) for picture in listing.pictures}
    for stem in sorted(listing.masks.keys() - stems):
        findings.add(Finding.MASK_WITHOUT_PICTURE, listing.masks[stem].path)


def _add_mask(item: DatasetItem, mask: SourceFile, dataset: Dataset, scratch: Path, findings: Findings) -> DatasetItem:
    """Return the picture with its mask, or as it was where the mask cannot be one of it."""
    local = scratch / "mask"
    size = None
    if mask.bytes <= MAX_FILE_BYTES:
        content = dataset.shelf.fetch(mask.key, local)
        with suppress(PictureRefused):
            facts = look_at_picture(local)
            size = facts.width_px, facts.height_px
        local.unlink()
    if size != (item.width, item.height):
        findings.add(Finding.MASK_UNUSABLE, mask.path)
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


def _end_unusable(asked: InspectInput, listing: Listing, findings: Findings) -> Ending:
    if not listing.pictures:
        findings.add(Finding.NO_PICTURES, asked.dataset.name)
        message = (
            f"Dataset {asked.dataset.name} has files but no pictures: add PNG, JPEG or WebP files to its source "
            "(spec.source)"
        )
    else:
        message = f"none of the {len(listing.pictures)} pictures can be used: {findings.as_sentence()}"
    report = TerminationReport(
        role=Role.INSPECT,
        reason=Reason.DATASET_UNUSABLE,
        message=shorten(message),
        inspection=InspectionResult(
            revision="", items=0, captioned=0, bytes=0, findings=findings.as_statuses(), report_key=""
        ),
    )
    return Ending(ExitCode.DATASET_UNUSABLE, report)


def _end_with_revision(
    home: Home, asked: InspectInput, dataset: Dataset, items: list[DatasetItem], findings: Findings
) -> Ending:
    name = asked.dataset.name
    revision = DatasetRevision(dataset=name, source=dataset.kind, items=items, findings=findings.as_statuses())
    digest = digest_of([revision.source, [item.as_json() for item in items]])
    key = home.layout.revision(name, digest)
    if home.store.head(key) is None:  # the same contents, told by an earlier release perhaps: what is there stays
        write_document(home.store, key, revision)
    sides = [min(item.width, item.height) for item in items]
    result = InspectionResult(
        revision=digest,
        items=len(items),
        captioned=sum(item.caption is not None for item in items),
        pictures_per_pass=sum(item.repeats for item in items),
        bytes=sum(item.bytes for item in items),
        resolution=ResolutionStatus(min_px=min(sides), median_px=int(statistics.median(sides)), max_px=max(sides)),
        findings=revision.findings,
        report_key=key,
    )
    return end_well(TerminationReport(role=Role.INSPECT, reason=Reason.COMPLETED, inspection=result))
