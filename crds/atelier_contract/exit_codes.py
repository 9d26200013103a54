"""Exit codes of the trainer image. They are API: the Job's failure policy and the reasons in status follow from them.

A code says who has to act: the user (10 to 14, the Job fails at once), time (20, counted against the Job's retries
after ten minutes of waiting inside the pod), or nobody (30, 31: another pod goes on for free). Any other code is a bug
of ours and is counted against the retries.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a container of the trainer image ended."""

    DONE = 0
    BUG = 1
    INVALID_INPUT = 10
    DATASET_UNUSABLE = 11
    BASE_MODEL_UNUSABLE = 12
    OUT_OF_MEMORY = 13
    DIVERGED = 14
    STORAGE_UNAVAILABLE = 20
    INTERRUPTED = 30
    """SIGTERM arrived and the state was saved."""
    PEER_LOST = 31


FAILING = (
    ExitCode.INVALID_INPUT,
    ExitCode.DATASET_UNUSABLE,
    ExitCode.BASE_MODEL_UNUSABLE,
    ExitCode.OUT_OF_MEMORY,
    ExitCode.DIVERGED,
)
"""Another attempt would end the same way: the Job fails at the first."""

IGNORED = (ExitCode.INTERRUPTED, ExitCode.PEER_LOST)
"""Another attempt goes on from the state and costs no retry."""

BACKOFF_LIMIT = 2
"""Retries of a Job for everything that is counted."""

STORAGE_PATIENCE_SECONDS = 600
"""How long a pod waits for a store that does not answer before it exits `STORAGE_UNAVAILABLE`."""
