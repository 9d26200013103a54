"""The one queue of keys that are due: what is marked often is looked at once, and never twice at the same time.

In come keys with a time; out come keys that are due. A key that is marked while it is being looked at is due again
afterwards. A look that failed is repeated with growing pauses. The queue knows no cluster and no object; its clock is
given to it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Awaitable, Callable

from atelier_operator.model import Key

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 300.0
"""A mended cause is noticed after five minutes at the latest, and a lasting one costs next to nothing."""


class Queue:
    """Keys and the times they are due at."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def mark(self, key: Key, *, after_seconds: float = 0.0) -> None:
        """Let a key be due; an earlier time that is already set stays."""
        due = self._clock() + after_seconds
        if self._due.get(key, math.inf) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    async def take(self) -> Key:
        """Wait for a key to be due, and take it; `settle` must follow."""
        while True:
            key = self._pop()
            if key is not None:
                return key
            self._changed.clear()
            pause = self._heap[0][0] - self._clock() if self._heap else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def settle(self, key: Key, *, failed: bool = False, at_least_seconds: float = 0.0) -> None:
        """End a look at a key; after a failed one it is due again after a pause that grows with each failure."""
        self._busy.discard(key)
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            marked_meanwhile = self._due.pop(key, None) is not None
            pause = FIRST_PAUSE_SECONDS if marked_meanwhile else choose_pause_seconds(self._failures[key])
            self.mark(key, after_seconds=max(pause, at_least_seconds))
            return
        self._failures.pop(key, None)
        if key in self._due:
            heapq.heappush(self._heap, (self._due[key], next(self._order), key))
            self._changed.set()

    def forget(self, key: Key) -> None:
        """Let a key not be due any more."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def depth(self) -> int:
        """Return how many keys are due now or being looked at."""
        now = self._clock()
        return len(self._busy) + sum(1 for due in self._due.values() if due <= now)

    def oldest_lateness_seconds(self) -> float:
        """Return by how much the most belated key is late; 0 when none is."""
        return max(0.0, self._clock() - min(self._due.values(), default=math.inf))

    def _pop(self) -> Key | None:
        """Return a key that is due and not busy; drop what the heap holds of outdated times."""
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due or key in self._busy:
                heapq.heappop(self._heap)  # outdated; or busy, and then `settle` puts it back
                continue
            if due > now:
                return None
            heapq.heappop(self._heap)
            del self._due[key]
            self._busy.add(key)
            return key
        return None


def choose_pause_seconds(failures: int) -> float:
    """Return the pause after so many failures in a row, spread so that what failed together comes back apart."""
    grown = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 32))
    return grown * random.uniform(0.8, 1.2)  # noqa: S311  # a spread, not a secret


async def serve(queue: Queue, look: Callable[[Key], Awaitable[None]], concurrency: int) -> None:
    """Look at due keys for ever, several at once.

    Args:
        queue: where keys come from.
        look: looks at one key, and settles it whatever happens.
        concurrency: how many at once.
    """
    free = asyncio.Semaphore(concurrency)

    async def look_and_free(key: Key) -> None:
        try:
            await look(key)
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        while True:
            await free.acquire()
            group.create_task(look_and_free(await queue.take()))
