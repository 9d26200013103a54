"""Draws depend on seed, purpose and place alone."""

from __future__ import annotations

import torch

from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.draws import Draws, seed_of

SHAPE = torch.Size((4, 8, 8))
SQUARE, WIDE = (64, 64), (128, 64)


def test_a_draw_does_not_depend_on_the_draws_before_it() -> None:
    """Drawing other numbers first changes nothing: there is no state to disturb."""
    draws = Draws(3)
    alone = draws.normal(SHAPE, "noise", 10, 2)
    for item in range(5):
        draws.normal(SHAPE, "noise", 9, item)
    torch.manual_seed(99)
    assert torch.equal(alone, draws.normal(SHAPE, "noise", 10, 2))


def test_purposes_and_places_do_not_share_numbers() -> None:
    """Another purpose, step, item or seed gives other numbers."""
    places = [(3, "noise", 1, 0), (3, "posterior", 1, 0), (3, "noise", 2, 0), (3, "noise", 1, 1), (4, "noise", 1, 0)]
    assert len({seed_of(*place) for place in places}) == len(places)


def test_places_are_told_apart_by_their_parts() -> None:
    """Step 1 item 11 and step 11 item 1 are two places, not one string."""
    assert seed_of(0, "noise", 1, 11) != seed_of(0, "noise", 11, 1)


def test_seeds_are_fixed_for_ever() -> None:
    """The seed of a place is part of what resuming means: it may not change between releases."""
    assert seed_of(0, "noise", 0, 0) == 3063214539133759720


def test_any_step_can_be_asked_for_first() -> None:
    """The batch of step 50 is the same whether or not steps 0 to 49 were read."""
    shapes = [SQUARE] * 7 + [WIDE] * 5
    read_through = BatchPlan(shapes, 4, Draws(1))
    for step in range(50):
        read_through.read_batch(step)
    assert read_through.read_batch(50) == BatchPlan(shapes, 4, Draws(1)).read_batch(50)


def test_an_epoch_shows_every_picture() -> None:
    """Each picture is in some batch of each epoch, and every batch is full and of one shape."""
    shapes = [SQUARE] * 7 + [WIDE] * 5
    plan = BatchPlan(shapes, 4, Draws(1))
    batches = [plan.read_batch(plan.steps_per_epoch * 2 + step) for step in range(plan.steps_per_epoch)]
    assert {index for batch in batches for index in batch} == set(range(12))
    assert all(len(batch) == 4 and len({shapes[index] for index in batch}) == 1 for batch in batches)


def test_epochs_are_ordered_differently() -> None:
    """Two epochs do not repeat one order."""
    plan = BatchPlan([SQUARE] * 12, 4, Draws(1))
    assert [plan.read_batch(s) for s in range(3)] != [plan.read_batch(s) for s in range(3, 6)]


def test_fewer_pictures_than_a_batch_fill_it() -> None:
    """Three pictures give batches of four: the size that was asked for is never made smaller."""
    batch = BatchPlan([SQUARE] * 3, 4, Draws(1)).read_batch(0)
    assert len(batch) == 4
    assert set(batch) == {0, 1, 2}
