"""The interval that the trainer's benchmark prints, held against the binomial it stands on."""

from __future__ import annotations

import pytest
from trainer_statistics import choose_rank, cover, divide_pairs, estimate


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (5, 1), (6, 1), (9, 2), (15, 4), (20, 6)])
def test_the_interval_is_the_narrowest_that_is_sure_enough(count: int, rank: int) -> None:
    """Tables of order-statistic intervals for a median at 95 % name the same ranks."""
    assert choose_rank(count) == rank


@pytest.mark.parametrize(("count", "sure"), [(1, 0.0), (3, 0.75), (5, 0.9375), (6, 0.96875), (9, 0.9609375)])
def test_how_sure_an_interval_is_follows_from_its_ranks(count: int, sure: float) -> None:
    """The median lies outside all of three values in two of eight cases: all three fall on one side of it."""
    assert cover(count) == sure


def test_one_wild_value_of_nine_moves_no_end() -> None:
    """A stretch that another program disturbed decides nothing."""
    calm = estimate([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8])
    disturbed = estimate([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 99.0])
    assert calm == disturbed
    assert (calm.low, calm.median, calm.high) == (1.1, 1.4, 1.7)


def test_weather_that_slows_both_sides_is_in_no_ratio() -> None:
    """Ratios are taken within a pair."""
    assert divide_pairs([2.0, 20.0], [1.0, 10.0]) == [2.0, 2.0]
