"""Two results side by side: which are meant, where they differ, and a sheet of both.

In come statuses and pictures, out go rows and columns. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atelier_contract.identity import name_checkpoint
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_studio.actions import selection, tables
from atelier_studio.actions.sheets import Column
from atelier_studio.errors import BadRequest

DIFFERENCE_COLUMNS = ("SETTING", "LEFT", "RIGHT")


@dataclass(frozen=True)
class Side:
    """One of the two: a checkpoint of a job."""

    job: str
    step: int

    @property
    def title(self) -> str:
        """What it is called above its pictures."""
        return f"{self.job} {self.step}"


def read_side(word: str) -> tuple[str, str]:
    """Return job and checkpoint out of `JOB` or `JOB/CHECKPOINT`; the checkpoint is empty where none is named.

    Raises:
        BadRequest: it is neither.
    """
    job, _, checkpoint = word.partition("/")
    if not job or "/" in checkpoint:
        raise BadRequest(f"{word!r} is neither JOB nor JOB/CHECKPOINT: write for example teapot/step-000500")
    return job, checkpoint


def choose_side(job: str, checkpoint: str, status: TrainingJobStatus) -> Side:
    """Return which checkpoint is meant: the named one, else the one with the lowest loss, else the last.

    Raises:
        BadRequest: there is no such checkpoint, or none at all.
    """
    rows = selection.list_selectable(status)
    if not rows:
        raise BadRequest(f"{job} has no checkpoint yet: `kubectl atelier watch {job}` shows when one is there")
    if not checkpoint:
        return Side(job, next((row for row in rows if row.best), rows[-1]).step)
    (name,) = selection.read_names([checkpoint])
    row = next((row for row in rows if row.name == name), None)
    if row is None:
        known = ", ".join(row.name for row in rows)
        raise BadRequest(f"{name} is no checkpoint of {job} that is kept: there are {known}")
    return Side(job, row.step)


def list_differences(sides: Sequence[Side], statuses: Sequence[TrainingJobStatus]) -> list[tuple[str, str, str]]:
    """Return rows by `DIFFERENCE_COLUMNS`: what came of the two, then the settings in which they differ."""
    left, right = (_describe(side, status) for side, status in zip(sides, statuses, strict=True))
    rows = [(name, left[name], right[name]) for name in left]
    values = [{row.name: row.value for row in status.resolved or ()} for status in statuses]
    for name in dict.fromkeys([*values[0], *values[1]]):
        one, other = values[0].get(name, "-"), values[1].get(name, "-")
        if one != other:
            rows.append((name, one, other))
    return rows


def _describe(side: Side, status: TrainingJobStatus) -> dict[str, str]:
    row = tables.find_checkpoint(status, name_checkpoint(side.step))
    seconds = sum(attempt.seconds for attempt in status.attempts or ()) + (status.earlier_attempts_seconds or 0)
    return {
        "checkpoint": f"{side.job}/{name_checkpoint(side.step)}",
        "held-out loss": (row.held_out_loss if row else "") or "-",
        "size": tables.format_size(row.bytes) if row else "-",
        "state": row.state if row else "-",
        "time of the run": tables.format_duration(seconds or None),
    }


def join_prompts(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Return the prompts of both, each once; those that both have come first."""
    shared = [prompt for prompt in left if prompt in right]
    return list(dict.fromkeys([*shared, *left, *right]))


def build_column(
    title: str, note: str, prompts: Sequence[str], own: Sequence[str], pictures: Sequence[bytes | None]
) -> Column:
    """Return a column whose pictures are in the order of `prompts`.

    Args:
        title: what stands above.
        note: smaller, below it.
        prompts: of the sheet.
        own: of the pictures, in their order.
        pictures: one for each of `own`.
    """
    by_prompt: Mapping[str, bytes | None] = dict(zip(own, pictures, strict=True))
    return Column(title, note, [by_prompt.get(prompt) for prompt in prompts])
