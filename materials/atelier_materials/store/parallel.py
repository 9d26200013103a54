"""Several requests at once, to hide a bucket's latency: bounded, in order, and over at the first failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 4
"""Enough to hide a bucket's latency behind the next request; botocore keeps ten connections."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_at_once(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the function of each item, in the items' order.

    At most a handful are begun and not yet taken, so that what they hold (a file in scratch space, say) is bounded. A
    failure is raised in its turn; what was begun beside it is waited for, what was not is never begun.
    """
    with ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
        begun = [pool.submit(function, item) for item in items[:AT_ONCE]]
        for number in range(len(items)):
            yield begun.pop(0).result()
            following = number + AT_ONCE
            if following < len(items):
                begun.append(pool.submit(function, items[following]))
