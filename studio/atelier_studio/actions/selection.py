"""What `select`, `deselect` and `finalize` write into spec.selection, and what finalizing will do, in words.

The whole list is always written, never an addition: two appliers of a set would merge it, and a name taken out by one
would stay with the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from atelier_contract import defaults
from atelier_contract.identity import name_checkpoint, slugify
from atelier_contract.training_job import SelectionSpec, TrainingJobSpec
from atelier_contract.training_job_status import CheckpointStatus, TrainingJobStatus
from atelier_studio.actions.tables import format_duration, format_size
from atelier_studio.errors import BadRequest

SELECTABLE = ("Available", "Selected", "Published")
_STEP = re.compile(r"^[0-9]{1,7}$")


def list_selectable(status: TrainingJobStatus) -> list[CheckpointStatus]:
    """Return the checkpoints that can be kept, by step."""
    return [row for row in status.checkpoints or () if row.state in SELECTABLE]


def read_names(words: Iterable[str]) -> list[str]:
    """Return checkpoint names out of what was typed: names as they are, and bare steps (500 for step-000500)."""
    return [name_checkpoint(int(word)) if _STEP.match(word) else word for word in words]


def pick_best(status: TrainingJobStatus) -> str:
    """Return the checkpoint with the lowest held-out loss.

    Raises:
        BadRequest: none is marked.
    """
    for row in list_selectable(status):
        if row.best:
            return row.name
    raise BadRequest(
        "no checkpoint of this job is marked as best: that needs held-out pictures (12 or more in the dataset). Look "
        "at the samples, and name the checkpoints"
    )


def pick_last(status: TrainingJobStatus) -> str:
    """Return the checkpoint of the highest step.

    Raises:
        BadRequest: there is none yet.
    """
    rows = list_selectable(status)
    if not rows:
        raise BadRequest("this job has no checkpoint yet: `kubectl atelier watch JOB` shows when the first is due")
    return max(rows, key=lambda row: row.step).name


def build_selection(
    selection: SelectionSpec | None,
    status: TrainingJobStatus,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    finalize: bool = False,
) -> dict[str, Any]:
    """Return the merge patch for spec.selection.

    Args:
        selection: the selection as it stands.
        status: the job's status: names are checked against its checkpoints.
        add: checkpoint names to keep as well.
        remove: checkpoint names not to keep any longer.
        finalize: ask for publishing and, after the grace time, deletion of the rest.

    Raises:
        BadRequest: a name is no checkpoint of this job, deletion has begun already, or nothing would be selected at
            finalize.
    """
    refuse_frozen(status)
    wanted = set(selection.checkpoints if selection else ())
    known = {row.name for row in list_selectable(status)}
    for name in add:
        if name not in known:
            # Their names are all alike, so that nothing would be gained by proposing the nearest.
            there = ", ".join(sorted(known)) or "none yet"
            raise BadRequest(f"{name} is no checkpoint of this job that can be selected: there are {there}")
    for name in remove:
        if name not in wanted:
            selected = ", ".join(sorted(wanted)) or "nothing"
            raise BadRequest(f"{name} is not selected, so there is nothing to take back: selected is {selected}")
    wanted = (wanted | set(add)) - set(remove)
    if finalize and not wanted:
        raise BadRequest(
            "nothing is selected: select at least one checkpoint first (`kubectl atelier select`). To "
            "keep none, delete the TrainingJob with deletionPolicy: Delete"
        )
    patch: dict[str, Any] = {"checkpoints": sorted(wanted)}
    if finalize:
        patch["finalize"] = True
    elif selection and selection.finalize and not wanted:
        patch["finalize"] = False  # the last one was taken back: there is nothing to finalize any longer
    return {"spec": {"selection": patch}}


def refuse_frozen(status: TrainingJobStatus) -> None:
    """Refuse to change a selection whose deletion has begun.

    Raises:
        BadRequest: says since when, and what is left to do.
    """
    if status.collection and status.collection.started_at:
        raise BadRequest(
            f"the deletion of the checkpoints that were not selected began at {status.collection.started_at}: the "
            "selection is fixed. `kubectl atelier clone` trains anew, from a published checkpoint if you like"
        )


def describe_finalize(job: str, spec: TrainingJobSpec, status: TrainingJobStatus, kept: Sequence[str]) -> list[str]:
    """Return the lines that say what finalizing keeps, publishes and frees, and until when it can be undone.

    Args:
        job: its name.
        spec: the job's, for its grace time and its model's name.
        status: the job's, for its checkpoints.
        kept: names of the selected ones.
    """
    stem = slugify(spec.model_name) or job
    rows = list_selectable(status)
    stays = [row for row in rows if row.name in kept]
    goes = [row for row in rows if row.name not in kept]
    lines = [f"{len(stays)} of {len(rows)} checkpoints will be published:"]
    lines += [f"  {row.name}   as {stem}-{row.name}-{row.sha256[:8]}   {format_size(row.bytes)}" for row in stays]
    if goes:
        freed = format_size(sum(row.bytes for row in goes))
        lines.append(f"{len(goes)} will be deleted, which frees {freed}: {', '.join(row.name for row in goes)}")
    else:
        lines.append("nothing will be deleted: all checkpoints are selected")
    lines.append(_describe_grace(job, spec, deletes=bool(goes)))
    return lines


def _describe_grace(job: str, spec: TrainingJobSpec, *, deletes: bool) -> str:
    asked = spec.retention.grace_seconds if spec.retention else None
    seconds = defaults.GRACE_SECONDS if asked is None else asked
    if not deletes:
        return f"it can be undone: `kubectl atelier deselect {job} CHECKPOINT`"
    if seconds == 0:
        return "deletion begins at once (retention.graceSeconds is 0): it cannot be undone"
    return (
        f"deletion begins {format_duration(seconds)} after publishing; until then `kubectl atelier select {job} "
        "CHECKPOINT` rescues a checkpoint, afterwards it cannot be undone"
    )
