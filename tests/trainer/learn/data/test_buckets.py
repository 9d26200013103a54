"""Buckets and repeats: few shapes, and each picture as often as was asked."""

from __future__ import annotations

from collections import Counter

import pytest

from atelier_materials.dataset.buckets import GRID_PX, assign_shapes, describe_shapes, list_shapes
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.draws import Draws

SQUARE, WIDE = (512, 512), (640, 384)


def count_shown(plan: BatchPlan, epoch: int = 0) -> Counter[int]:
    """Return how often an epoch shows each picture."""
    first = epoch * plan.steps_per_epoch
    return Counter(index for step in range(first, first + plan.steps_per_epoch) for index in plan.read_batch(step))


@pytest.mark.parametrize("resolution_px", [512, 768, 1024])
def test_shapes_are_few_and_on_the_grid(resolution_px: int) -> None:
    """At most 13 shapes, each on the grid and of nearly the square's area: as many graphs are captured at most."""
    shapes = list_shapes(resolution_px)
    assert len(shapes) <= 13
    assert all(side % GRID_PX == 0 for shape in shapes for side in shape)
    assert all(0.75 * resolution_px**2 < width * height <= resolution_px**2 for width, height in shapes)


def test_repeated_picture_is_shown_that_often() -> None:
    """In an epoch a picture with 3 repeats is shown three times, the others once."""
    plan = BatchPlan([SQUARE] * 6, 4, Draws(1), repeats=[3, 1, 1, 1, 1, 1])
    assert count_shown(plan) == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_repeats_hold_in_every_epoch() -> None:
    """Later epochs show each picture as often, in another order."""
    plan = BatchPlan([SQUARE] * 6, 4, Draws(1), repeats=[3, 1, 1, 1, 1, 1])
    assert count_shown(plan, 0) == count_shown(plan, 1)
    assert [plan.read_batch(s) for s in range(2)] != [plan.read_batch(s) for s in range(2, 4)]


def test_no_repeats_is_the_order_of_earlier_releases() -> None:
    """Repeats of 1 are the same batches as none at all."""
    shapes = [SQUARE] * 5 + [WIDE] * 4
    plain, ones = BatchPlan(shapes, 4, Draws(1)), BatchPlan(shapes, 4, Draws(1), repeats=[1] * 9)
    assert [plain.read_batch(s) for s in range(12)] == [ones.read_batch(s) for s in range(12)]


def test_thin_bucket_joins_its_neighbour() -> None:
    """A bucket with fewer pictures than a batch is no bucket of its own."""
    sizes = [(800, 800)] * 6 + [(1600, 800)]
    assert set(assign_shapes(sizes, 512, 4)) == {SQUARE}


def test_repeats_count_for_a_bucket() -> None:
    """One picture shown four times fills a batch of four, so its bucket stays."""
    sizes = [(800, 800)] * 6 + [(1600, 960)]
    assert assign_shapes(sizes, 512, 4, repeats=[1] * 6 + [4])[-1] == WIDE


def test_shapes_are_told_the_most_first() -> None:
    """Before the first step people can read which shapes there are."""
    assert describe_shapes([WIDE, SQUARE, SQUARE]) == "512x512 px (2 pictures), 640x384 px (1 pictures)"
