"""The table of checkpoints: rows that live answers, last words and adoption tell of, and what became of each.

The first whole manifest of a step wins, here as in the store; a later row can only add to it (the full digest, a loss
that was not known). States follow from the selection and from what publish and collect have reported.
"""

from __future__ import annotations

from collections.abc import Iterable

from atelier_contract.identity import name_checkpoint
from atelier_contract.progress import CheckpointRow
from atelier_contract.roles import Role
from atelier_contract.termination import expand_row
from atelier_contract.training_job_status import MAX_CHECKPOINT_ROWS, CheckpointStatus, TrainingJobStatus
from atelier_operator.plan.attempts import find_answer
from atelier_operator.plan.look import Look

GONE = ("Deleting", "Deleted", "Lost")
_HELD_OUT_FROM = 12
"""Pictures from which some are held out; below, the loss is measured on training pictures and marks no best."""


def record_checkpoints(look: Look, status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with every checkpoint that training pods have told of."""
    told: list[CheckpointRow] = []
    for job in look.own_jobs(Role.TRAIN):
        for pod in sorted(job.pods, key=lambda pod: (pod.created_at, pod.name)):
            if pod.report is not None and pod.report.role is Role.TRAIN:
                told += [expand_row(row) for row in pod.report.rows]
            answer = find_answer(look, pod, status)
            if answer is not None:
                told += answer.checkpoints
    return merge_rows(look, status, told)


def merge_rows(look: Look, status: TrainingJobStatus, told: Iterable[CheckpointRow]) -> TrainingJobStatus:
    """Return the status with the told checkpoints in it, by step.

    Step 0 is the base model itself: it has pictures and a loss but no file, so it is no row that one could select.
    """
    rows = {row.step: row for row in status.checkpoints or []}
    for row in told:
        if row.step > 0:
            rows[row.step] = _merge(rows.get(row.step), row)
    if not rows:
        return status
    ordered = [rows[step] for step in sorted(rows)]
    if len(ordered) > MAX_CHECKPOINT_ROWS:
        # Only a stop between two checkpoints of a full table makes a 41st: the last is the one asked for.
        ordered = [*ordered[: MAX_CHECKPOINT_ROWS - 1], ordered[-1]]
    return _with_rows(status, mark_best(look, ordered))


def lose_rows(status: TrainingJobStatus, told: Iterable[CheckpointRow]) -> TrainingJobStatus:
    """Return the status with every checkpoint marked Lost that a whole listing of the store no longer shows."""
    there = {row.step for row in told}
    rows = [
        row.model_copy(update={"state": "Lost"}) if row.step not in there and row.state == "Available" else row
        for row in status.checkpoints or []
    ]
    return _with_rows(status, rows) if rows else status


def mark_best(look: Look, rows: list[CheckpointStatus]) -> list[CheckpointStatus]:
    """Return the rows with the lowest held-out loss marked."""
    items = look.view.dataset.status.items if look.view.dataset else None
    wanted = not (look.spec.validation and look.spec.validation.held_out == "none")
    if not wanted or (items is not None and items < _HELD_OUT_FROM):
        return rows
    losses = [(float(row.held_out_loss), row.step) for row in rows if row.held_out_loss]
    best = min(losses)[1] if losses else None
    return [row.model_copy(update={"best": True if row.step == best else None}) for row in rows]


def mark_states(status: TrainingJobStatus, selected: frozenset[str]) -> TrainingJobStatus:
    """Return the status with each checkpoint's state: published over selected over available; gone stays gone."""
    published = {model.checkpoint for model in status.models or []}
    rows: list[CheckpointStatus] = []
    for row in status.checkpoints or []:
        if row.name in published:
            state = "Published"
        elif row.state in GONE:
            state = row.state
        else:
            state = "Selected" if row.name in selected else "Available"
        rows.append(row.model_copy(update={"state": state}))
    return _with_rows(status, rows) if rows else status


def mark_deleting(status: TrainingJobStatus, doomed: frozenset[str]) -> TrainingJobStatus:
    """Return the status with these checkpoints on their way out."""
    return _set_state(status, doomed, "Deleting")


def mark_deleted(status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with all that was being deleted gone."""
    going = frozenset(row.name for row in status.checkpoints or [] if row.state == "Deleting")
    return _set_state(status, going, "Deleted")


def find_rows(status: TrainingJobStatus, *states: str) -> list[CheckpointStatus]:
    """Return the checkpoints in one of these states, by step."""
    return [row for row in status.checkpoints or [] if row.state in states]


def _merge(old: CheckpointStatus | None, told: CheckpointRow) -> CheckpointStatus:
    loss = "" if told.held_out_loss is None else f"{told.held_out_loss:.4f}"
    if old is None:
        return CheckpointStatus(
            name=name_checkpoint(told.step),
            step=told.step,
            bytes=told.bytes,
            sha256=told.sha256,
            held_out_loss=loss,
            samples=told.samples,
            state="Available",
        )
    update: dict[str, object] = {}
    if len(told.sha256) > len(old.sha256) and told.sha256.startswith(old.sha256):
        update["sha256"] = told.sha256
    if loss and not old.held_out_loss:
        update["held_out_loss"] = loss
    return old.model_copy(update=update) if update else old


def _set_state(status: TrainingJobStatus, which: frozenset[str], state: str) -> TrainingJobStatus:
    rows = [row.model_copy(update={"state": state}) if row.name in which else row for row in status.checkpoints or []]
    return _with_rows(status, rows) if rows else status


def _with_rows(status: TrainingJobStatus, rows: list[CheckpointStatus]) -> TrainingJobStatus:
    """Return the status with these rows and the count of those kept."""
    kept = sum(row.state in {"Selected", "Published"} for row in rows)
    return status.model_copy(update={"checkpoints": rows, "kept": f"{kept}/{len(rows)}" if rows else None})
