"""What a handful of noisy pairs says: a median, and an interval that assumes nothing about the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median with the interval that holds the true one in at least 95 of 100 cases, if values are six or more."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f} .. {self.high:.3f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median and its order-statistic interval.

    The median of any distribution lies between the k-th lowest and the k-th highest of n values unless fewer than k
    lie on one of its sides, which is a binomial's matter. Of nine values those are the second and the eighth (96 %).
    """
    ordered = sorted(values)
    rank = choose_rank(len(ordered))
    return Estimate(median(ordered), ordered[rank - 1], ordered[-rank])


def choose_rank(count: int) -> int:
    """Return the largest k whose interval is still sure enough; 1 where even that is not."""
    rank = 1
    while rank < count // 2 and _cover(count, rank + 1) >= CONFIDENCE:
        rank += 1
    return rank


def cover(count: int) -> float:
    """Return how likely the interval of so many values holds the true median; of few it is all of them, and less."""
    return max(0.0, _cover(count, choose_rank(count)))


def _cover(count: int, rank: int) -> float:
    """Return how likely the true median lies between the rank-th lowest and the rank-th highest of `count` values."""
    return 1 - 2 * sum(comb(count, fewer) for fewer in range(rank)) / 2.0**count


def divide_pairs(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio within each pair: what slowed both down at once is in neither."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
