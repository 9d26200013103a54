"""Waiting for a store that does not answer: growing pauses, a limit, a word in the log each time.

A bucket that answers 503 for some minutes is common and must not cost a run. Only `Unanswered` is waited for; what
another try cannot mend is raised at once by the stores.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from atelier_contract.exit_codes import STORAGE_PATIENCE_SECONDS
from atelier_materials.errors import StorageUnavailable

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
log = logging.getLogger(__name__)
Result = TypeVar("Result")
ADVICE = "see whether the store is up and reachable from this namespace (a NetworkPolicy can forbid it)"
"""What a pod says in the end."""


class Unanswered(Exception):
    """The store did not answer, or said that it cannot just now. Never leaves the edges."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a store, and with which clock."""

    seconds: float = STORAGE_PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    advice: str = ADVICE
    """What to do when it never answered; ends the sentence."""

    def wait_for(self, operation: Callable[[], Result]) -> Result:
        """Call the operation until it answers.

        Raises:
            StorageUnavailable: it did not within the patience, counted from the first failure.
        """
        pause_seconds = FIRST_PAUSE_SECONDS
        given_up_at: float | None = None
        while True:
            try:
                return operation()
            except Unanswered as error:
                now = self.clock()
                given_up_at = now + self.seconds if given_up_at is None else given_up_at
                if now + pause_seconds > given_up_at:
                    raise StorageUnavailable(f"{error}, for {self.seconds:.0f} s: {self.advice}") from error
                log.warning("%s; next try in %.1f s", error, pause_seconds)
                # Spread out, so that the pods of a namespace do not come back all at once.
                self.sleep(pause_seconds * random.uniform(0.75, 1.0))  # noqa: S311 - no secret depends on it
                pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)
