"""Rounds: one preflight and, if it says so, one training Job, both with the round's number in their names.

`status.ordinals` keeps two numbers: the round, under preflight, and the last round whose training was asked for. A
round is closed by raising the first: what had the old number is left behind for good, and the next round begins with
its own preflight. Pause, retry and a lost node all close a round; nothing else needs to be remembered of them.
"""

from __future__ import annotations

from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus


def read_round(status: TrainingJobStatus) -> int:
    """Return the number of the present round, from 1."""
    return max(1, (status.ordinals or {}).get(Role.PREFLIGHT.value, 0))


def is_training_asked(status: TrainingJobStatus) -> bool:
    """Return whether this round's training Job was asked for."""
    return (status.ordinals or {}).get(Role.TRAIN.value, 0) == read_round(status)


def open_preflight(status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with this round's preflight on record."""
    return _set(status, Role.PREFLIGHT, read_round(status))


def open_training(status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with this round's training on record."""
    return _set(status, Role.TRAIN, read_round(status))


def close_round(status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with the next round due."""
    return _set(status, Role.PREFLIGHT, read_round(status) + 1)


def _set(status: TrainingJobStatus, role: Role, number: int) -> TrainingJobStatus:
    return status.model_copy(update={"ordinals": {**(status.ordinals or {}), role.value: number}})
