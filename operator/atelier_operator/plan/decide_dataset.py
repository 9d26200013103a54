"""The door for Datasets: whether an inspection is due, under way or over, and what it means for who waits.

Ready keeps speaking of the last good revision while another inspection runs (Reconciling says that one does). What the
user must mend waits for the user; a store that does not answer is asked again after growing pauses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from atelier_contract import defaults
from atelier_contract.dataset import DatasetSpec, DatasetStatus
from atelier_contract.reasons import DATASET_CONDITIONS, Condition, DatasetState, Reason
from atelier_contract.termination import TerminationReport
from atelier_operator.model import Action, DatasetView, DeleteJob, ObservedJob, Plan
from atelier_operator.plan import conditions, instants
from atelier_operator.plan.errands import pause_after
from atelier_operator.plan.failures import explain_job, find_killed, find_report
from atelier_operator.plan.inspection import (
    ask_inspection,
    build_inspection,
    explain_finding,
    explain_result,
    find_end,
    is_due,
    name_inspection,
    take_result,
)
from atelier_operator.plan.look import active_pod, is_over

WAIT_SECONDS = 5.0
_MENDED_BY_USER = (Reason.DATASET_UNUSABLE, Reason.INVALID_INPUT)
"""Another look at the same things would find the same."""


@dataclass(frozen=True)
class _Finding:
    """Where a dataset stands."""

    status: DatasetStatus
    ready: bool
    state: DatasetState
    message: str
    stalled: Reason | None = None
    busy: bool = False
    actions: tuple[Action, ...] = ()
    look_again_seconds: float | None = None


def decide(view: DatasetView, now: datetime) -> Plan:
    """Return what to do about a Dataset, what to say of it, and when to look again.

    Args:
        view: everything observed of it at this look.
        now: the time of this look, aware.

    Returns:
        A plan whose status equals the view's where nothing has changed.
    """
    if view.meta.deleted_at is not None:
        return Plan(status=view.status, labels={"state": "Deleting"})
    if view.spec is None:
        found = _Finding(view.status, False, DatasetState.INVALID, view.problem, stalled=Reason.INVALID_INPUT)
    elif is_due(view, view.spec):
        found = _begin(view, view.spec, ask_inspection(view, view.spec))
    else:
        found = _follow(view, view.spec, now)
    return _conclude(view, found, now)


def _begin(view: DatasetView, spec: DatasetSpec, status: DatasetStatus) -> _Finding:
    """Return the finding that asks for the inspection on record, and ends the ones before it."""
    name = name_inspection(view, status)
    found = _working(view, status, f"Job {name} inspects the source")
    own = [job for job in view.jobs if job.owner_uid == view.meta.uid]
    ends = tuple(DeleteJob(job.name, job.uid) for job in own if not is_over(job) and job.deleted_at is None)
    found = replace(found, actions=ends)
    taken = next((job for job in view.jobs if job.name == name), None)
    if taken is not None and taken.deleted_at is not None:
        return replace(found, message=f"waiting for an earlier Job {name} to go", look_again_seconds=WAIT_SECONDS)
    if taken is not None:
        message = f"a Job {name} is there that is not of this Dataset: delete it, or use another name"
        return replace(found, message=message, stalled=Reason.NAME_TAKEN, look_again_seconds=60.0)
    found = replace(found, actions=(*ends, build_inspection(view, spec, name)))
    if view.refused:
        message = f"the API server refuses the inspection's Job: {view.refused}"
        return replace(found, message=message, stalled=Reason.CREATE_REFUSED, look_again_seconds=60.0)
    return found


def _follow(view: DatasetView, spec: DatasetSpec, now: datetime) -> _Finding:
    """Return the finding of an inspection that was asked for."""
    name = name_inspection(view, view.status)
    job = next((job for job in view.jobs if job.name == name and job.owner_uid == view.meta.uid), None)
    if not conditions.is_true(view.status, Condition.RECONCILING) and not _is_stuck(view):
        return _await_retry(view, spec, job, now)
    if job is None:
        return _begin(view, spec, view.status)
    if not is_over(job) and find_killed(job) is None:
        return _await(view, job, now)
    report = find_report(job)
    if report is not None and report.inspection is not None:
        return _take(view, job, report, now)
    reason, message = explain_job(job)
    if job.complete:
        reason, message = Reason.TRAINER_ERROR, f"Job {name} ended without a last word"
    return _failed(view, reason, message)


def _await(view: DatasetView, job: ObservedJob, now: datetime) -> _Finding:
    pod = active_pod(job)
    message = f"Job {job.name} inspects the source"
    if any(pod.report for pod in job.pods):
        message = explain_job(job)[1]
    if pod is None or pod.scheduled_at is None or pod.started_at is not None:
        return _working(view, view.status, message)
    left = defaults.START_DEADLINE_SECONDS - instants.seconds_between(pod.scheduled_at, now)
    why = f"{pod.waiting_reason} {pod.waiting_message}".strip()
    if left <= 0:
        found = _failed(view, Reason.START_DEADLINE_EXCEEDED, f"pod {pod.name} did not start: {why}")
        return replace(found, actions=(DeleteJob(job.name, job.uid),))
    return replace(_working(view, view.status, f"{message}; {why}" if why else message), look_again_seconds=left)


def _take(view: DatasetView, job: ObservedJob, report: TerminationReport, now: datetime) -> _Finding:
    """Return the finding of an inspection that has ended with a result."""
    result = report.inspection
    if result is None:
        return _failed(view, report.reason, report.message)
    status = take_result(view.status, result, find_end(job) or now)
    if job.complete and status.usable_for:
        return _Finding(status, True, DatasetState.INSPECTED, explain_result(result))
    worst = next(iter(result.findings), None)
    message = report.message or (explain_finding(worst) if worst else "there is no usable picture")
    return _Finding(status, False, DatasetState.UNUSABLE, message, stalled=Reason.DATASET_UNUSABLE)


def _failed(view: DatasetView, reason: Reason, message: str) -> _Finding:
    state = DatasetState.UNUSABLE if reason in _MENDED_BY_USER else DatasetState.INSPECTION_FAILED
    if state is DatasetState.UNUSABLE:
        return _Finding(view.status, False, state, message, stalled=reason)
    failures = (view.status.failures or 0) + 1
    status = view.status.model_copy(update={"failures": failures})
    return _Finding(status, False, state, message, stalled=reason, look_again_seconds=pause_after(failures))


def _await_retry(view: DatasetView, spec: DatasetSpec, job: ObservedJob | None, now: datetime) -> _Finding:
    """Return the finding of a dataset whose inspection is over: as it is, or another try once its pause is over."""
    ready = conditions.find(view.status, Condition.READY)
    stalled = conditions.find(view.status, Condition.STALLED)
    state = DatasetState(ready.reason) if ready else DatasetState.INSPECTING
    reason = Reason(stalled.reason) if stalled and stalled.status == "True" else None
    found = _Finding(
        view.status,
        ready is not None and ready.status == "True",
        state,
        ready.message if ready else "",
        stalled=reason,
    )
    if state is DatasetState.INVALID:
        return _begin(view, spec, ask_inspection(view, spec))
    if state is not DatasetState.INSPECTION_FAILED or stalled is None:
        return found
    ended = (find_end(job) if job else None) or instants.read_time(stalled.last_transition_time)
    left = instants.seconds_between(now, instants.add_seconds(ended, pause_after(view.status.failures or 1)))
    if left > 0:
        return replace(found, look_again_seconds=left)
    return _begin(view, spec, ask_inspection(view, spec))


def _working(view: DatasetView, status: DatasetStatus, message: str) -> _Finding:
    """Return the finding of a dataset under inspection: whatever was Ready before stays so."""
    ready = conditions.find(view.status, Condition.READY)
    if ready is not None and ready.status == "True":
        return _Finding(status, True, DatasetState.INSPECTED, ready.message, busy=True)
    return _Finding(status, False, DatasetState.INSPECTING, message, busy=True)


def _is_stuck(view: DatasetView) -> bool:
    """Return whether the inspection on record could not be started: it is still to be done."""
    stalled = conditions.find(view.status, Condition.STALLED)
    waiting = (Reason.NAME_TAKEN, Reason.CREATE_REFUSED)
    return stalled is not None and stalled.status == "True" and stalled.reason in waiting


def _conclude(view: DatasetView, found: _Finding, now: datetime) -> Plan:
    """Return the plan with the three conditions."""
    busy = found.busy and found.stalled is None
    stalled = found.stalled is not None
    work = Reason.IN_PROGRESS if busy else Reason.AS_EXPECTED
    status = found.status
    for kind, value, reason, message in (
        (Condition.READY, found.ready, found.state.value, found.message),
        (Condition.RECONCILING, busy, work, found.message if busy else ""),
        (Condition.STALLED, stalled, found.stalled or Reason.AS_EXPECTED, found.message if stalled else ""),
    ):
        status = conditions.claim(status, kind, value, reason, message, now=now)
    return Plan(
        status=conditions.arrange(status, DATASET_CONDITIONS, view.meta.generation),
        actions=found.actions,
        look_again_seconds=found.look_again_seconds,
        labels={"state": found.state.value},
    )
