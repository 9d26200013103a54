"""Conditions: claims merged into what stood before, so that a transition time moves only when a condition does.

In goes a status and a claim, out comes the status with it. Works on both kinds. The order of conditions is fixed, so
that equal observations give equal documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeVar

from atelier_contract.conditions import ConditionStatus
from atelier_contract.dataset import DatasetStatus
from atelier_contract.reasons import Condition
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.plan import instants

_StatusT = TypeVar("_StatusT", TrainingJobStatus, DatasetStatus)
MESSAGE_LENGTH = 1024
"""Longest message that the schema takes."""
_WORDS: dict[bool | None, Literal["True", "False", "Unknown"]] = {True: "True", False: "False", None: "Unknown"}


def find(status: TrainingJobStatus | DatasetStatus, kind: Condition) -> ConditionStatus | None:
    """Return a condition, if it was ever claimed."""
    return next((c for c in status.conditions if c.type == kind), None)


def is_true(status: TrainingJobStatus | DatasetStatus, kind: Condition) -> bool:
    """Return whether a condition is there and holds."""
    found = find(status, kind)
    return found is not None and found.status == "True"


def claim(
    status: _StatusT, kind: Condition, value: bool | None, reason: str, message: str, *, now: datetime
) -> _StatusT:
    """Return the status with one condition claimed.

    Args:
        status: what stood before.
        kind: which condition.
        value: whether it holds; None: it cannot be told.
        reason: one word.
        message: one sentence; cut to what the schema takes.
        now: becomes the transition time if the value changes.
    """
    old = find(status, kind)
    word = _WORDS[value]
    since = old.last_transition_time if old and old.status == word else instants.format_time(now)
    new = ConditionStatus(
        type=kind.value,
        status=word,
        reason=str(reason),
        message=shorten(message),
        observed_generation=old.observed_generation if old else None,
        last_transition_time=since,
    )
    others: list[ConditionStatus] = [c for c in status.conditions if c.type != kind]
    return status.model_copy(update={"conditions": [*others, new]})


def arrange(status: _StatusT, order: Sequence[Condition], generation: int) -> _StatusT:
    """Return the status with its conditions in a fixed order, all speaking of this generation of the spec."""
    place = {kind.value: index for index, kind in enumerate(order)}
    ordered = sorted(status.conditions, key=lambda c: (place.get(c.type, len(place)), c.type))
    stamped = [c.model_copy(update={"observed_generation": generation}) for c in ordered]
    return status.model_copy(update={"conditions": stamped, "observed_generation": generation})


def shorten(message: str) -> str:
    """Return a message that fits a condition."""
    return message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…"
