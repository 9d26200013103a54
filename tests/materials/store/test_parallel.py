"""Several requests at once: in order, bounded, over at the first failure."""

from __future__ import annotations

import threading

import pytest

from atelier_materials.store.parallel import AT_ONCE, map_at_once


def test_keeps_the_order() -> None:
    """Results come in the order of the items."""
    assert list(map_at_once(lambda number: number * 2, range(20))) == [number * 2 for number in range(20)]


def test_nothing_to_do() -> None:
    """No items give no results."""
    assert list(map_at_once(str, [])) == []


def test_runs_several_at_once() -> None:
    """As many as allowed run together: each waits until all of them have begun."""
    together = threading.Barrier(AT_ONCE, timeout=30)
    assert len(list(map_at_once(lambda _: together.wait(), range(AT_ONCE)))) == AT_ONCE


def test_begins_only_what_is_taken() -> None:
    """While the first result is not taken, no more than the allowed number has begun."""
    begun: list[int] = []
    results = map_at_once(begun.append, range(100))
    next(results)
    assert len(begun) <= AT_ONCE + 1
    results.close()


def test_ends_at_the_first_failure() -> None:
    """A failure is raised, and items far behind it are never begun."""
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        list(map_at_once(fail, range(100)))
    assert max(begun) <= AT_ONCE
