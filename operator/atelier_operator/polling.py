"""Follows running training pods: asks each every few seconds, keeps the last answer, and marks its key when it changed.

One task for each pod that is followed, so that a pod which does not answer delays nobody else. What the answer means is
decided elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from atelier_operator.edges.progress import ProgressSource
from atelier_operator.model import Key, ObservedPod, ObservedProgress

ASK_SECONDS = 5.0
"""Pause between two questions to one pod."""
PATIENCE = 3
"""Questions in a row without an answer before the pod counts as unreachable: one lost packet is no news."""


@dataclass
class _Followed:
    pod: ObservedPod
    task: asyncio.Task[None]
    heard: ObservedProgress | None = None
    misses: int = 0


class Poller:
    """The running pods that are asked."""

    def __init__(
        self, source: ProgressSource, mark: Callable[[Key], None], *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._source = source
        self._mark = mark
        self._ask_seconds = ask_seconds
        self._followed: dict[Key, _Followed] = {}

    def follow(self, key: Key, pod: ObservedPod | None) -> None:
        """Ask this pod from now on for this key, and no other; None: ask nobody."""
        known = self._followed.get(key)
        if known is not None and pod is not None and known.pod.uid == pod.uid:
            known.pod = pod
            return
        if known is not None:
            known.task.cancel()
            del self._followed[key]
        if pod is not None:
            task = asyncio.create_task(self._ask_for_ever(key), name=f"ask {key.namespace}/{key.name}")
            self._followed[key] = _Followed(pod, task)

    def read(self, key: Key) -> ObservedProgress | None:
        """Return the last answer of the pod that is followed for a key."""
        followed = self._followed.get(key)
        return followed.heard if followed else None

    def stop(self) -> None:
        """Ask nobody any more."""
        for key in tuple(self._followed):
            self.follow(key, None)

    async def _ask_for_ever(self, key: Key) -> None:
        while True:
            followed = self._followed[key]
            if self._take(followed, await self._source.ask(followed.pod)):
                self._mark(key)
            # Spread, so that pods started together are not all asked together.
            await asyncio.sleep(self._ask_seconds * random.uniform(0.9, 1.1))  # noqa: S311  # a spread, not a secret

    def _take(self, followed: _Followed, answer: ObservedProgress) -> bool:
        """Keep an answer, and return whether it is news."""
        known = followed.heard
        if answer.report is None:
            followed.misses += 1
            if followed.misses < PATIENCE:
                return False
        else:
            followed.misses = 0
        followed.heard = answer
        return known is None or replace(known, asked_at=answer.asked_at) != answer
