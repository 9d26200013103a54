"""Rows for people out of statuses: lists of jobs, checkpoints of a job.

In come documents of the cluster, out go tuples of words. A word that is not known is a dash.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from atelier_contract.dataset import DatasetStatus
from atelier_contract.reasons import Condition, State
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import CheckpointStatus, ProgressStatus, TrainingJobStatus
from atelier_materials.dataset.naming import escape_name
from atelier_studio.errors import StudioError

Object = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

JOB_COLUMNS = ("NAME", "STATE", "PROGRESS", "STEP", "LOSS", "ETA", "KEPT")
WIDE_JOB_COLUMNS = (*JOB_COLUMNS, "TYPE", "MODEL", "DATASET", "ARCHITECTURE", "MESSAGE")
CHECKPOINT_COLUMNS = ("CHECKPOINT", "LOSS", "SIZE", "SAMPLES", "STATE", "")
OVER = (State.AWAITING_SELECTION, State.PUBLISHING, State.COLLECTING, State.FINALIZED)
"""States of a run that has ended well."""
PENDING = "Pending"
"""State of an object that the operator has not looked at; the operator itself has no word for it."""


def read_status(body: Object) -> TrainingJobStatus:
    """Return a TrainingJob's status, empty when the operator has not looked yet.

    Raises:
        StudioError: a newer release wrote it.
    """
    return _read(TrainingJobStatus, body, "status")


def read_spec(body: Object) -> TrainingJobSpec:
    """Return a TrainingJob's typed spec.

    Raises:
        StudioError: a newer release wrote it.
    """
    return _read(TrainingJobSpec, body, "spec")


def read_dataset_status(body: Object) -> DatasetStatus:
    """Return a Dataset's status, empty when the operator has not looked yet.

    Raises:
        StudioError: a newer release wrote it.
    """
    return _read(DatasetStatus, body, "status")


def _read(model: type[Model], body: Object, part: str) -> Model:
    try:
        return model.model_validate(body.get(part) or {})
    except ValidationError as error:
        fields = ", ".join(".".join(str(word) for word in fault["loc"]) for fault in error.errors()[:3])
        raise StudioError(
            f"{part} of {body.get('kind', 'object')} {body['metadata']['name']} is not as this release knows it "
            f"({fields}): use the release of `kubectl atelier` that belongs to the cluster's Atelier"
        ) from error


def read_state(status: TrainingJobStatus | DatasetStatus) -> tuple[str, str]:
    """Return state word and sentence of the Ready condition."""
    for condition in status.conditions:
        if condition.type == Condition.READY:
            return condition.reason, condition.message
    return PENDING, "the operator has not looked at this yet"


def is_current(body: Object, status: TrainingJobStatus | DatasetStatus) -> bool:
    """Return whether the status speaks of the spec as it is now."""
    generation: int | None = body["metadata"].get("generation")
    return status.observed_generation == generation


def read_progress(status: TrainingJobStatus) -> ProgressStatus | None:
    """Return how far a job is. Of one that has ended the last checkpoint tells; the last look at its pod is older."""
    progress = status.progress
    if progress is None or not status.checkpoints or read_state(status)[0] not in OVER:
        return progress
    step = max(progress.step, status.checkpoints[-1].step)
    percent = min(100, step * 100 // max(1, progress.total_steps))
    return progress.model_copy(update={"step": step, "percent": percent, "remaining_seconds": None})


def format_duration(seconds: int | None) -> str:
    """Return a duration as people say it: 45s, 12m03s, 3h05m; a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def format_size(size_bytes: int) -> str:
    """Return a size as people say it: 395 bytes, 820 kB, 3.4 MB, 1.20 GB."""
    if size_bytes < 1e3:
        return f"{size_bytes} bytes"
    if size_bytes < 1e6:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"


def build_job_row(body: Object, *, wide: bool = False) -> tuple[str, ...]:
    """Return the row of one TrainingJob, by `JOB_COLUMNS` or `WIDE_JOB_COLUMNS`."""
    status = read_status(body)
    state, message = read_state(status)
    progress = read_progress(status)
    over = state in OVER
    row = (
        body["metadata"]["name"],
        state,
        f"{progress.percent}%" if progress else "-",
        f"{progress.step}/{progress.total_steps}" if progress else "-",
        (progress.loss if progress else "") or "-",
        format_duration(progress.remaining_seconds if progress and not over else None),
        status.kept or "-",
    )
    if not wide:
        return row
    spec = read_spec(body)
    return (
        *row,
        spec.model_type,
        escape_name(spec.model_name),
        spec.dataset_ref.name,
        str(spec.base_model.architecture),
        message,
    )


def build_checkpoint_rows(status: TrainingJobStatus) -> list[tuple[str, ...]]:
    """Return the rows of a job's checkpoints, by `CHECKPOINT_COLUMNS`."""
    return [
        (
            row.name,
            row.held_out_loss or "-",
            format_size(row.bytes),
            str(row.samples),
            row.state,
            "lowest loss" if row.best else "",
        )
        for row in status.checkpoints or ()
    ]


def find_checkpoint(status: TrainingJobStatus, name: str) -> CheckpointStatus | None:
    """Return a checkpoint of a job, None where there is none of that name."""
    return next((row for row in status.checkpoints or () if row.name == name), None)
