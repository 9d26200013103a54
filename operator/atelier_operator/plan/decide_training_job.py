"""The door for TrainingJobs: which stage a run is in, and what that stage says.

Facts are folded in first (attempts, checkpoints, the selection), so that a stage never looks at a stale row; then the
stages are asked in the order of a run's life, and the first with something to say decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from atelier_contract.names import FINALIZER
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import Action, EmitEvent, Plan, SetFinalizer, TrainingJobView
from atelier_operator.plan import conditions
from atelier_operator.plan.attempts import record_attempts
from atelier_operator.plan.checkpoints import record_checkpoints
from atelier_operator.plan.deletion import decide_deletion
from atelier_operator.plan.finalizing import decide_finalizing, record_selection
from atelier_operator.plan.look import Look
from atelier_operator.plan.names import name_ordinal
from atelier_operator.plan.outcomes import complete, find_strays, stay_failed, take_retry
from atelier_operator.plan.preflight import follow_preflight
from atelier_operator.plan.rounds import close_round, is_training_asked, read_round
from atelier_operator.plan.starting import refuse, start
from atelier_operator.plan.state import Verdict, conclude
from atelier_operator.plan.training import (
    begin_training,
    end_training,
    find_lost_pod,
    follow_training,
    leave_round,
    name_training,
    needs_new_round,
)


def decide(view: TrainingJobView, now: datetime) -> Plan:
    """Return what to do about a TrainingJob, what to say of it, and when to look again.

    Args:
        view: everything observed of it at this look.
        now: the time of this look, aware.

    Returns:
        A plan whose status equals the view's where nothing has changed.
    """
    if view.meta.deleted_at is not None:
        return decide_deletion(view, now)
    if view.spec is None:
        invalid = Verdict(view.status, State.INVALID, view.problem, stalled=Reason.INVALID_INPUT)
        return conclude(view, invalid, now)
    look = Look(view, view.spec, now)
    verdict = _decide_run(look)
    verdict = verdict.with_actions(before=_hold(look), after=_announce(look, verdict.status))
    return conclude(view, verdict, now)


def _decide_run(look: Look) -> Verdict:
    status, retried = take_retry(look, look.view.status)
    status = record_checkpoints(look, record_attempts(look, status))
    verdict = _decide_stage(look, status)
    # A stage that completes the run leaves the selection to be judged by the rows it has just brought.
    status, choice = record_selection(look, verdict.status)
    verdict = replace(verdict, status=status)
    if conditions.is_true(status, Condition.COMPLETE):
        done = decide_finalizing(look, status, choice)
        verdict = replace(done, status_first=done.status_first or verdict.status_first)
    strays = find_strays(look, _name_wanted(look, verdict.status))
    return replace(verdict.with_actions(before=strays), status_first=verdict.status_first or retried)


def _decide_stage(look: Look, status: TrainingJobStatus) -> Verdict:
    """Return the verdict of a run up to its end; of a complete one, whatever: finalizing decides then."""
    if conditions.is_true(status, Condition.COMPLETE):
        return Verdict(status, State.AWAITING_SELECTION)
    if conditions.is_true(status, Condition.FAILED):
        return stay_failed(status)
    refused = refuse(look, status)
    if refused is not None:
        return refused
    status, waiting = start(look, status)
    if waiting is not None:
        if look.stopping and _lacks_dataset(look):
            status = complete(look, status, Reason.STOPPED_EARLY, "stopped before it started")
            return Verdict(status, State.AWAITING_SELECTION)
        return _pause(look, status) if look.suspended else waiting
    return _decide_started(look, status)


def _lacks_dataset(look: Look) -> bool:
    """Return whether the dataset is not there, or the user must mend it first.

    Nothing of such a run can be in the store under an identity that is known. In every other case preflight decides:
    an object created again, with `stop` in its manifest, finds its run there.
    """
    dataset = look.view.dataset
    return dataset is None or conditions.is_true(dataset.status, Condition.STALLED)


def _decide_started(look: Look, status: TrainingJobStatus) -> Verdict:
    """Return the verdict of a run whose dataset is pinned."""
    if is_training_asked(status):
        status, verdict = _decide_training(look, status)
        if verdict is not None:
            return verdict
    if look.suspended:
        return _pause(look, status)
    status, verdict = follow_preflight(look, status)
    if verdict is not None:
        return verdict
    if conditions.is_true(status, Condition.COMPLETE):
        return Verdict(status, State.AWAITING_SELECTION)
    return begin_training(look, status)


def _decide_training(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, Verdict | None]:
    """Return the verdict of a round whose training was asked for; none, with the round left, if it cannot go on."""
    status, failed = end_training(look, status)
    if failed is not None:
        return status, failed
    if conditions.is_true(status, Condition.COMPLETE):
        return status, Verdict(status, State.AWAITING_SELECTION)
    if look.suspended:
        return leave_round(look, status, Reason.SUSPENDED), None
    if find_lost_pod(look, status) is not None:
        return leave_round(look, status, Reason.NODE_LOST), None
    if needs_new_round(look, status):
        return close_round(status), None
    return status, follow_training(look, status)


def _pause(look: Look, status: TrainingJobStatus) -> Verdict:
    ending = look.list_unfenced()
    message = "spec.suspend is true: no GPU is held, and the run goes on from its last state when it is false"
    if ending:
        message = f"spec.suspend is true: pod {ending[0].name} saves its state and ends"
    return Verdict(status, State.SUSPENDED, message)


def _name_wanted(look: Look, status: TrainingJobStatus) -> str:
    """Return the one preflight or training Job that may live on; empty: none."""
    if any(conditions.is_true(status, kind) for kind in (Condition.COMPLETE, Condition.FAILED)):
        return ""
    if is_training_asked(status):
        return name_training(look, status)
    return name_ordinal(look.meta.name, Role.PREFLIGHT, read_round(status))


def _hold(look: Look) -> Iterable[Action]:
    """Yield the finalizer's change: it is set before the first child, so that no data is ever without it."""
    wanted = look.spec.deletion_policy == "Delete"
    if wanted != (FINALIZER in look.meta.finalizers):
        yield SetFinalizer(present=wanted)


def _announce(look: Look, status: TrainingJobStatus) -> Iterable[Action]:
    """Yield the event of a run that has just completed; failures and finalization bring their own."""
    done = conditions.find(status, Condition.COMPLETE)
    if done is not None and done.status == "True" and not conditions.is_true(look.view.status, Condition.COMPLETE):
        yield EmitEvent("Normal", done.reason, done.message)
