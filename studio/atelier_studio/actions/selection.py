"""What `select`, `deselect` and `finalize` write into spec.selection.

The whole list is always written, never an addition: two appliers of a set would merge it, and a name taken out by one
would stay with the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from atelier_contract.training_job import SelectionSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_studio.errors import BadRequest

SELECTABLE = ("Available", "Selected", "Published")


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
        BadRequest: a name is no checkpoint of this job, or nothing would be selected at finalize.
    """
    wanted = set(selection.checkpoints if selection else ())
    known = {row.name for row in status.checkpoints or () if row.state in SELECTABLE}
    for name in add:
        if name not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise BadRequest(f"{name} is no checkpoint of this job that can be selected: there are {names}")
    wanted = (wanted | set(add)) - set(remove)
    if finalize and not wanted:
        raise BadRequest(
            "nothing is selected: select at least one checkpoint first. To keep none, delete the TrainingJob with "
            "deletionPolicy: Delete"
        )
    patch: dict[str, Any] = {"checkpoints": sorted(wanted)}
    if finalize:
        patch["finalize"] = True
    return {"spec": {"selection": patch}}


def describe_finalize(status: TrainingJobStatus, kept: Iterable[str]) -> str:
    """Return the sentence that says what finalizing keeps and frees."""
    kept = set(kept)
    rows = [row for row in status.checkpoints or () if row.state in SELECTABLE]
    freed = [row for row in rows if row.name not in kept]
    megabytes = sum(row.bytes for row in freed) / 1e6
    return (
        f"{len(rows) - len(freed)} of {len(rows)} checkpoints will be published, "
        f"{len(freed)} deleted after the grace time ({megabytes:.1f} MB freed)"
    )
