"""Rows for people out of statuses: lists of jobs, checkpoints of a job, one line of progress."""

from __future__ import annotations

from typing import Any

from atelier_contract.reasons import Condition
from atelier_contract.training_job_status import TrainingJobStatus

JOB_COLUMNS = ("NAME", "STATE", "PROGRESS", "LOSS", "ETA", "KEPT")
CHECKPOINT_COLUMNS = ("CHECKPOINT", "LOSS", "SIZE", "SAMPLES", "STATE", "")


def read_status(body: dict[str, Any]) -> TrainingJobStatus:
    """Return a TrainingJob's status, empty when the operator has not looked yet."""
    return TrainingJobStatus.model_validate(body.get("status") or {})


def read_state(status: TrainingJobStatus) -> tuple[str, str]:
    """Return state word and sentence of the Ready condition."""
    for condition in status.conditions:
        if condition.type == Condition.READY:
            return condition.reason, condition.message
    return "Pending", "the operator has not looked at this job yet"


def format_duration(seconds: int | None) -> str:
    """Return a duration as people say it: 45s, 12m, 3h05m; a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def build_job_row(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of one TrainingJob, by `JOB_COLUMNS`."""
    status = read_status(body)
    progress = status.progress
    return (
        body["metadata"]["name"],
        read_state(status)[0],
        f"{progress.percent}%" if progress else "-",
        (progress.loss if progress else "") or "-",
        format_duration(progress.remaining_seconds if progress else None),
        status.kept or "-",
    )


def build_checkpoint_rows(status: TrainingJobStatus) -> list[tuple[str, ...]]:
    """Return the rows of a job's checkpoints, by `CHECKPOINT_COLUMNS`."""
    return [
        (
            row.name,
            row.held_out_loss or "-",
            f"{row.bytes / 1e6:.1f} MB",
            str(row.samples),
            row.state,
            "lowest loss" if row.best else "",
        )
        for row in status.checkpoints or ()
    ]
