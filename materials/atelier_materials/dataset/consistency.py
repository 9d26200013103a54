"""What only many files beside one another show: equal and nearly equal pictures, clashing names, captions out of step.

In: the usable pictures of a dataset and what was seen of each. Out: findings. Pure: nothing is opened here. Of captions
no more is told than the one word that is nearly the trigger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atelier_contract.architectures import Architecture
from atelier_contract.manifests import DatasetItem
from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import stem_of
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.naming import fold_name
from atelier_materials.dataset.near_duplicates import find_near_duplicates
from atelier_materials.dataset.tokens import count_tokens, find_limit, is_common_word
from atelier_materials.dataset.triggers import count_trigger, find_misspelt, guess_trigger, put_trigger

HELD_OUT_FROM_PICTURES = 12
"""Below, none are held out (DESIGN: truth of the result)."""


@dataclass(frozen=True)
class SeenPicture:
    """A usable picture as it is compared with others."""

    item: DatasetItem
    dhash: int
    grid: bytes
    """Its colours, as `near_duplicates` compares them."""


@dataclass(frozen=True)
class CaptionRules:
    """What captions are held against."""

    trigger: str = ""
    """Caption prefix that training will put before captions. Empty: none is known."""
    architecture: Architecture | None = None
    """Family whose encoders will read them. None: CLIP, which all families have."""


def judge_dataset(seen: Sequence[SeenPicture], paths: Iterable[str], rules: CaptionRules, findings: Findings) -> None:
    """Add what the whole dataset shows.

    Args:
        seen: usable pictures, by path.
        paths: of all files, usable or not.
        rules: what captions are held against.
        findings: what is added to.
    """
    items = [picture.item for picture in seen]
    _judge_equal(seen, findings)
    _judge_names(paths, findings)
    _judge_shared(items, findings)
    _judge_lengths(items, rules, findings)
    _judge_triggers(items, rules.trigger, findings)
    if 0 < len(items) < HELD_OUT_FROM_PICTURES:
        findings.add(Finding.FEW_PICTURES, f"{len(items)} pictures")


def _judge_equal(seen: Sequence[SeenPicture], findings: Findings) -> None:
    first: dict[str, str] = {}
    distinct: list[SeenPicture] = []
    for picture in seen:
        path = first.setdefault(picture.item.sha256, picture.item.path)
        if path == picture.item.path:
            distinct.append(picture)
        else:
            findings.add(Finding.DUPLICATE_PICTURE, picture.item.path, "the same as", path)
    near = find_near_duplicates([picture.dhash for picture in distinct], [picture.grid for picture in distinct])
    for later, earlier in near.items():
        findings.add(Finding.NEAR_DUPLICATE_PICTURE, distinct[later].item.path, "nearly", distinct[earlier].item.path)


def _judge_names(paths: Iterable[str], findings: Findings) -> None:
    first: dict[str, str] = {}
    for path in sorted(paths):
        other = first.setdefault(fold_name(path), path)
        if other != path:
            findings.add(Finding.NAME_CASE_CLASH, path, "clashes with", other)


def _judge_shared(items: Iterable[DatasetItem], findings: Findings) -> None:
    """Name pictures that differ from an earlier one in their suffix alone and have one caption or mask with it."""
    first: dict[str, DatasetItem] = {}
    for item in items:
        other = first.setdefault(stem_of(item.path), item)
        shares = (item.caption is not None and item.caption == other.caption) or (
            item.mask_path is not None and item.mask_path == other.mask_path
        )
        if other is not item and shares:
            findings.add(Finding.CAPTION_SHARED, item.path, "shared with", other.path)


def _judge_lengths(items: Iterable[DatasetItem], rules: CaptionRules, findings: Findings) -> None:
    architecture = rules.architecture or Architecture.STABLE_DIFFUSION_XL
    limit = find_limit(architecture)
    for item in items:
        longest = max(
            (count_tokens(put_trigger(rules.trigger, text), architecture) for text in _list_captions(item)), default=0
        )
        if longest > limit:
            findings.add(Finding.CAPTION_TOO_LONG, item.path, f"{longest} tokens, of which {limit} are read")


def _judge_triggers(items: Sequence[DatasetItem], told: str, findings: Findings) -> None:
    captions = [item.caption for item in items if item.caption]
    trigger = told or guess_trigger(captions, is_common_word)
    if not trigger:
        return
    for item in items:
        for caption in _list_captions(item):
            found = _judge_trigger(trigger, caption, is_told=bool(told))
            if found is not None:
                findings.add(found[0], item.path, found[1])
                break


def _judge_trigger(trigger: str, caption: str, *, is_told: bool) -> tuple[Finding, str] | None:
    misspelt = find_misspelt(trigger, caption, is_common_word)
    if misspelt is not None:
        return Finding.TRIGGER_MISSPELT, f"{misspelt}, nearly {trigger}"
    count = count_trigger(trigger, caption)
    if count > 1:
        return Finding.TRIGGER_DOUBLED, f"{trigger} is in it {count} times"
    if count == 1:
        return None
    if is_told:
        return Finding.TRIGGER_ABSENT, f"without {trigger}"
    return Finding.CAPTIONS_INCONSISTENT, f"without {trigger}, which most captions have"


def _list_captions(item: DatasetItem) -> list[str]:
    return [caption for caption in (item.caption, *item.other_captions) if caption]
