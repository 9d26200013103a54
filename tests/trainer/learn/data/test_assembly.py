"""Batches: rows, masks, prior rows and their denominators, whole or in parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_trainer.learn.assembly import Batch, BatchAssembler
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.captions import Wording
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import MemoryCache, build_keys
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.masks import PictureMasks
from atelier_trainer.learn.priors import PriorPlaces, PriorRows
from atelier_trainer.learn.ranks import Ranks
from atelier_trainer.learn.texts import PictureTexts
from atelier_trainer.records import Picture
from learning import build_settings
from toy_family import MODEL, ToyFamily, no_pause, put_mask, put_picture

SQUARE = (64, 64)
KEYS = build_keys({}, MODEL)


def build(
    pictures: Sequence[Picture], priors: Sequence[Picture] = (), family: ToyFamily | None = None, **changes: Any
) -> BatchAssembler:
    """Return the assembler of square pictures, with prior rows where prior pictures are given."""
    settings, draws, cache = build_settings(**changes), Draws(7), MemoryCache()
    family = family or ToyFamily()
    shapes = [SQUARE] * len(pictures)
    latents = PictureLatents(family, cache, KEYS, pictures, shapes, flip=settings.flip)
    latents.fill(no_pause)
    masks = PictureMasks(pictures, shapes, 8)
    rows = None
    if priors:
        places = PriorPlaces(priors, shapes)
        prior_latents = PictureLatents(family, cache, KEYS, places.pictures, places.shapes)
        rows = PriorRows(places, prior_latents, "a teapot", draws)
    texts = PictureTexts(pictures, settings, Wording("tkxw"), draws)
    return BatchAssembler(family, settings, texts, latents, BatchPlan(shapes, 4, draws), draws, masks or None, rows)


@pytest.fixture
def plain(tmp_path: Path) -> list[Picture]:
    """Six pictures without masks."""
    return [put_picture(tmp_path, name, shade=number * 30) for number, name in enumerate("abcdef")]


@pytest.fixture
def masked(tmp_path: Path) -> list[Picture]:
    """Six pictures, every other one with a mask of its own."""
    masks = [put_mask(tmp_path / f"m{n}", white=(0, 0, 8 + 8 * n, 64)) if n % 2 else None for n in range(6)]
    return [put_picture(tmp_path, name, shade=n * 30, mask=masks[n]) for n, name in enumerate("abcdef")]


@pytest.fixture
def priors(tmp_path: Path) -> list[Picture]:
    """Three prior pictures; one has a caption of its own."""
    drawn = [put_picture(tmp_path, f"prior-{number}", shade=128 + number * 40, caption=None) for number in range(2)]
    return [*drawn, put_picture(tmp_path, "prior-2", shade=250, caption="an old pot")]


def assert_same(one: Batch, other: Batch) -> None:
    """Check that two batches have the same rows."""
    for name in ("latents", "noise", "timesteps", "row_weights"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert list(one.texts) == list(other.texts)
    assert one.prior_rows == other.prior_rows
    if one.masks is not None or other.masks is not None:
        assert one.masks is not None
        assert other.masks is not None
        assert torch.equal(one.masks, other.masks)


def join(parts: Sequence[Batch]) -> Batch:
    """Return batches as one."""
    masks = [part.masks for part in parts if part.masks is not None]
    return Batch(
        latents=torch.cat([part.latents for part in parts]),
        noise=torch.cat([part.noise for part in parts]),
        timesteps=torch.cat([part.timesteps for part in parts]),
        texts=[text for part in parts for text in part.texts],
        row_weights=torch.cat([part.row_weights for part in parts]),
        mask_total=parts[0].mask_total,
        masks=torch.cat(masks) if masks else None,
        prior_rows=sum(part.prior_rows for part in parts),
        prior_total=parts[0].prior_total,
    )


def test_plain_batch_has_nothing_new(plain: list[Picture]) -> None:
    """Without masks and priors: no mask, all weights 1, the number of rows as denominator, no prior row."""
    batch = build(plain).assemble(0)
    assert (batch.masks, batch.mask_total, batch.prior_rows, batch.prior_total) == (None, 4.0, 0, 0)
    assert torch.equal(batch.row_weights, torch.ones(4))


def test_settings_of_a_run_decide_its_draws(plain: list[Picture]) -> None:
    """The same step is the same batch, another step is another."""
    batches = build(plain)
    assert_same(batches.assemble(3), build(plain).assemble(3))
    assert not torch.equal(batches.assemble(3).noise, batches.assemble(4).noise)


def test_a_deviation_is_sampled_anew_in_every_step(tmp_path: Path) -> None:
    """With a posterior that matters, one picture's latents differ from step to step; without, they do not."""
    pictures = [put_picture(tmp_path, "a")] * 4
    for deviation, is_sampled in ((0.5, True), (0.0, False)):
        batches = build(pictures, family=ToyFamily(deviation=deviation))
        assert torch.equal(batches.assemble(0).latents, batches.assemble(1).latents) != is_sampled


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("has_priors", [False, True])
def test_ranks_make_the_whole_batch(masked: list[Picture], priors: list[Picture], count: int, has_priors: bool) -> None:
    """The rows of all ranks, one after the other, are the batch of one process; also where a rank has none."""
    batches = build(masked, priors if has_priors else (), flip=True, captionDropout=0.3)
    for step in range(3):
        parts = [batches.assemble(step, rank_of(index, count).rows(batches.rows)) for index in range(count)]
        assert_same(join(parts), batches.assemble(step))


def test_ranks_share_the_denominators(masked: list[Picture], priors: list[Picture]) -> None:
    """A rank's rows are divided by the whole batch's masks and prior rows, not by its own."""
    batches = build(masked, priors)
    whole, part = batches.assemble(0), batches.assemble(0, slice(0, 3))
    assert (part.mask_total, part.prior_total) == (whole.mask_total, whole.prior_total) == (whole.mask_total, 4)


def rank_of(index: int, count: int) -> Ranks:
    """Return a rank that only deals out rows."""
    ranks = Ranks()
    ranks.index, ranks.count = index, count
    return ranks


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_micro_batches_make_the_whole_batch(masked: list[Picture], priors: list[Picture], size: int) -> None:
    """Split into micro-batches, a batch keeps its rows, its denominators, and which of its rows are prior ones."""
    whole = build(masked, priors).assemble(1)
    parts = [part for _, part in whole.split(size)]
    assert_same(join(parts), whole)
    assert {(part.mask_total, part.prior_total) for part in parts} == {(whole.mask_total, 4)}
    assert [first for first, _ in whole.split(size)] == list(range(0, 8, size))


def test_mask_total_is_the_sum_of_the_masks(masked: list[Picture], priors: list[Picture]) -> None:
    """The denominator is what the masks of the dataset's rows add up to; prior rows are not in it."""
    batches = build(masked, priors)
    for step in range(4):
        batch = batches.assemble(step)
        assert batch.masks is not None
        assert batch.mask_total == pytest.approx(float(batch.masks[:4].mean(dim=(1, 2, 3)).sum()))
        assert batch.mask_total < 4


def test_masks_follow_the_flip(masked: list[Picture]) -> None:
    """Where a row is mirrored its mask is, too."""
    batches = build(masked[1:2] * 4, flip=True)
    flips = [batches.draws.happens(0.5, "flip", 0, item) for item in range(4)]
    assert len(set(flips)) == 2
    masks = batches.assemble(0).masks
    assert masks is not None
    for flip, mask in zip(flips, masks, strict=True):
        assert bool(mask[0, 0, 0] < mask[0, 0, -1]) == flip


def test_masks_are_there_in_every_batch_of_a_run_with_masks(masked: list[Picture]) -> None:
    """A batch of pictures without masks has masks of ones where another of the run has one: one graph serves both."""
    pictures = [*masked[:1] * 8, masked[1]]
    batches = build(pictures)
    totals = {batches.assemble(step).mask_total for step in range(6)}
    assert all(batches.assemble(step).masks is not None for step in range(6))
    assert 4.0 in totals


def test_prior_rows_come_last(plain: list[Picture], priors: list[Picture]) -> None:
    """A batch has as many prior rows as dataset rows, after them, each with its own caption or the prior's prompt."""
    batches = build(plain, priors, captionDropout=0)
    batch = batches.assemble(0)
    assert (len(batch.texts), batch.prior_rows, batch.prior_total) == (8, 4, 4)
    assert all(text.startswith("tkxw, ") for text in batch.texts[:4])
    said = {text for step in range(9) for text in batches.assemble(step).texts[4:]}
    assert said == {"a teapot", "an old pot"}


def test_prior_rows_change_no_dataset_row(plain: list[Picture], priors: list[Picture]) -> None:
    """The dataset's rows are drawn as without prior preservation."""
    with_priors, without = build(plain, priors).assemble(2), build(plain).assemble(2)
    assert_same(with_priors.take(slice(0, 4)), without)


def test_all_prior_pictures_are_drawn(plain: list[Picture], priors: list[Picture]) -> None:
    """Over some steps every prior picture has its turn, none in a fixed place."""
    batches = build(plain, priors, family=ToyFamily(deviation=0.0))
    seen = {tuple(batch.flatten().tolist()) for step in range(8) for batch in batches.assemble(step).latents[4:]}
    assert len(seen) == 3


def test_prior_pictures_go_with_the_nearest_shape(tmp_path: Path) -> None:
    """A wide prior picture goes with the wide bucket; a bucket that none is nearest to takes all of them."""
    wide, square, tall = (640, 384), (512, 512), (384, 640)
    pictures = [put_picture(tmp_path, "w", (160, 96)), put_picture(tmp_path, "s", (96, 96))]
    places = PriorPlaces(pictures, [wide, square, tall, square])
    named = {shape: {places.pictures[i].caption for i in places.of_shape(shape)} for shape in (wide, square, tall)}
    assert named == {wide: {"w"}, square: {"s"}, tall: {"w", "s"}}
    assert all(places.shapes[i] == shape for shape in (wide, square, tall) for i in places.of_shape(shape))
