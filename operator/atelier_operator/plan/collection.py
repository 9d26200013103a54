"""Collection: the grace time's clock, the fixed list of what goes, and the errand that deletes it."""

from __future__ import annotations

from dataclasses import replace

from atelier_contract.base import digest_of
from atelier_contract.inputs import CollectInput
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import CheckpointStatus, CollectionStatus, TrainingJobStatus
from atelier_operator.model import EmitEvent
from atelier_operator.plan.checkpoints import find_rows, mark_deleted, mark_deleting
from atelier_operator.plan.errands import explain_errand, look_after_errand
from atelier_operator.plan.inputs import build_collect_input
from atelier_operator.plan.instants import add_seconds, format_time
from atelier_operator.plan.launching import WAIT_SECONDS, launch
from atelier_operator.plan.look import Look
from atelier_operator.plan.run_children import build_errand_child
from atelier_operator.plan.selection import Choice
from atelier_operator.plan.state import Verdict


def set_clock(look: Look, status: TrainingJobStatus, choice: Choice) -> TrainingJobStatus:
    """Return the status with the deletion announced: the clock starts when this selection is first seen."""
    rows = _find_unselected(status, choice)
    before = status.collection
    not_before = format_time(add_seconds(look.now, choice.grace_seconds))
    if before is not None and before.selection_digest == choice.digest:
        not_before = before.not_before
    announced = CollectionStatus(
        selection_digest=choice.digest,
        checkpoints=len(rows),
        bytes=sum(row.bytes for row in rows),
        not_before=not_before,
    )
    return status.model_copy(update={"collection": announced})


def begin_collection(look: Look, status: TrainingJobStatus, choice: Choice) -> Verdict:
    """Return the verdict that starts the deletion: everything selected is published and the grace time is over."""
    waiting = look.list_unfenced()
    if waiting:
        message = f"waiting for pod {waiting[0].name} to end before anything is deleted"
        return Verdict(status, State.COLLECTING, message, look_again_seconds=WAIT_SECONDS)
    doomed = frozenset(row.name for row in _find_unselected(status, choice))
    started = status.collection and status.collection.model_copy(update={"started_at": format_time(look.now)})
    status = mark_deleting(status.model_copy(update={"collection": started}), doomed)
    return replace(follow_collection(look, status), status_first=True)


def follow_collection(look: Look, status: TrainingJobStatus) -> Verdict:
    """Return the verdict of a deletion that has started: its list is the rows that are Deleting, and no others."""
    document = _build_input(look, status)
    errand = look_after_errand(look, status, Role.COLLECT, digest_of(document.as_json()))
    if errand.report is not None and errand.report.collect is not None:
        freed = errand.report.collect.reclaimed_bytes
        return _finish(look, status, freed)
    status = status.model_copy(update={"failures": errand.failures or None})
    verdict = explain_errand(look, status, errand, State.COLLECTING, Reason.COLLECT_FAILED)
    if errand.running is not None or errand.wait_seconds is not None:
        return verdict
    return launch(look, verdict, build_errand_child(look, Role.COLLECT, errand.name, document))


def _finish(look: Look, status: TrainingJobStatus, freed_bytes: int) -> Verdict:
    status = mark_deleted(status).model_copy(update={"reclaimed_bytes": freed_bytes, "failures": None})
    message = f"{status.kept or '0/0'} checkpoints are published; {freed_bytes} bytes were freed"
    status = look.claim(status, Condition.FINALIZED, True, Reason.AS_EXPECTED, message)
    event = EmitEvent("Normal", State.FINALIZED.value, message)
    return Verdict(status, State.FINALIZED, message, actions=(event,))


def _find_unselected(status: TrainingJobStatus, choice: Choice) -> list[CheckpointStatus]:
    return [row for row in find_rows(status, "Available") if row.name not in choice.names]


def _build_input(look: Look, status: TrainingJobStatus) -> CollectInput:
    """Return exactly what goes and what must be there before anything does.

    The API server freezes the selection from here on. Were that rule missing, a name selected after all is left out of
    the list again: the rows on record are an upper bound of what goes.
    """
    selected = frozenset(look.spec.selection.checkpoints) if look.spec.selection else frozenset()
    doomed = [row for row in find_rows(status, "Deleting") if row.name not in selected]
    return build_collect_input(look, status, kept=find_rows(status, "Published", "Selected"), deleted=doomed)
