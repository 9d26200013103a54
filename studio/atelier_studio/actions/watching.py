"""A running job as people follow it: what a look at its status shows, and how the losses went.

In come statuses one after the other, out go facts and lines. Knows no terminal and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atelier_contract import names
from atelier_contract.reasons import Condition, State
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_studio.actions import tables

Object = dict[str, Any]
BLOCKS = "▁▂▃▄▅▆▇█"
RESTS = (State.AWAITING_SELECTION, State.FINALIZED, State.FAILED, State.INVALID)
"""States that nothing but a person leaves."""
MOVING = (State.PREPARING, State.TRAINING)
"""States in which the progress of a status is of now."""
FAILURES = (State.FAILED, State.INVALID)


@dataclass(frozen=True)
class Course:
    """The training losses that were seen, each with its step, in the order of the steps."""

    losses: tuple[tuple[int, float], ...] = ()

    def add(self, status: TrainingJobStatus) -> Course:
        """Return the course with what a status tells. A step that came before (another attempt) cuts what was after."""
        progress = status.progress
        loss = read_decimal(progress.loss) if progress else None
        if progress is None or loss is None or (self.losses and self.losses[-1] == (progress.step, loss)):
            return self
        kept = tuple(seen for seen in self.losses if seen[0] < progress.step)
        return replace(self, losses=(*kept, (progress.step, loss)))


def read_decimal(text: str) -> float | None:
    """Return a number of status, None where there is none."""
    try:
        return float(text)
    except ValueError:
        return None


def draw_curve(values: Sequence[float], width: int) -> str:
    """Return values as a line of blocks, lowest to highest; more values than width are averaged."""
    if not values:
        return ""
    count = min(width, len(values))
    means = []
    for index in range(count):
        first, end = index * len(values) // count, (index + 1) * len(values) // count
        means.append(sum(values[first:end]) / (end - first))
    low, high = min(means), max(means)
    if high == low:
        return BLOCKS[0] * count
    return "".join(BLOCKS[round((mean - low) / (high - low) * (len(BLOCKS) - 1))] for mean in means)


def is_at_rest(body: Object, status: TrainingJobStatus) -> bool:
    """Return whether nothing more happens to a job before a person acts.

    A status that does not speak of the newest spec, of a finalize or of a retry that was just asked for says nothing
    about what comes of it.
    """
    state = tables.read_state(status)[0]
    if state not in RESTS or not tables.is_current(body, status):
        return False
    asked_at = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_RETRY_REQUESTED_AT)
    if state == State.FAILED and asked_at and asked_at != status.last_handled_retry_at:
        return False
    selection = body["spec"].get("selection") or {}
    if state == State.AWAITING_SELECTION and selection.get("finalize"):
        return any(one.type == Condition.SELECTION_VALID and one.status == "False" for one in status.conditions)
    return True


def tell_progress(status: TrainingJobStatus) -> str:
    """Return how far a job is, in one line; empty before the first step."""
    progress = status.progress
    if progress is None:
        return ""
    parts = [f"{progress.percent}%", f"step {progress.step}/{progress.total_steps}"]
    parts += [f"loss {progress.loss}"] if progress.loss else []
    parts += [f"{progress.images_per_second} pictures/s"] if read_decimal(progress.images_per_second) else []
    left = progress.remaining_seconds
    parts += [f"{tables.format_duration(left)} left"] if left else []
    return "  ".join(parts)


def list_news(before: TrainingJobStatus | None, status: TrainingJobStatus) -> Iterator[str]:
    """Yield the lines that tell what is new since the last look: for pipes and logs.

    Args:
        before: the status of the last look; None at the first.
        status: of this look.
    """
    state, message = tables.read_state(status)
    if before is None or tables.read_state(before) != (state, message):
        yield f"{state}: {message}" if message else state
    yield from _list_new_checkpoints(before, status)
    ended = {one.id for one in before.attempts or () if one.reason} if before else set()
    for attempt in status.attempts or ():
        if before and attempt.reason and attempt.id not in ended and state not in RESTS:
            yield f"attempt from step {attempt.from_step} ended at step {attempt.to_step}: {attempt.reason}"
    line = tell_progress(status)
    if line and state in MOVING and (before is None or tell_progress(before) != line):
        phase = status.progress.phase if status.progress else ""
        yield f"{phase or state}  {line}"


def _list_new_checkpoints(before: TrainingJobStatus | None, status: TrainingJobStatus) -> Iterator[str]:
    rows = status.checkpoints or []
    if before is None:
        if rows:
            yield f"{count(len(rows), 'checkpoint')} so far, the last is {rows[-1].name}"
        return
    known = {row.name for row in before.checkpoints or ()}
    for row in rows:
        if row.name not in known:
            loss = f"  held-out loss {row.held_out_loss}" if row.held_out_loss else ""
            yield f"checkpoint {row.name}{loss}  {count(row.samples, 'sample')}" + ("  lowest so far" * bool(row.best))


def count(number: int, thing: str) -> str:
    """Return a number of things: 1 sample, 2 samples."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def list_held_out(status: TrainingJobStatus) -> list[tuple[int, float]]:
    """Return the held-out losses of the checkpoints, each with its step."""
    found = [(row.step, read_decimal(row.held_out_loss)) for row in status.checkpoints or ()]
    return [(step, loss) for step, loss in found if loss is not None]
