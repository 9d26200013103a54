"""Errands: short Jobs that are tried again, after growing pauses, until they succeed (publish and collect).

Each try has its own name, made from whom it serves, what is to be done and the number of failures before it. So a try
is never counted twice, a try of an earlier wish is never mistaken for one of this wish, and the finished Job itself
says when the next is due: nothing but the count is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract.base import digest_of
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import DeleteJob, ObservedJob
from atelier_operator.plan import conditions, instants
from atelier_operator.plan.failures import explain_job, find_report
from atelier_operator.plan.look import Look, is_over
from atelier_operator.plan.names import name_errand
from atelier_operator.plan.pod_starts import find_start_problem
from atelier_operator.plan.state import Verdict

FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 3600.0
_LISTED_TRIES = 64
"""Far more than an errand is tried in the hour that a deletion may take, however often a retry is asked for."""


@dataclass(frozen=True)
class Errand:
    """How far an errand is."""

    name: str
    """Name of the try that is due or under way."""
    failures: int
    report: TerminationReport | None = None
    """Not None: it is done."""
    problem: str = ""
    """What the last try said, as far as it is still there."""
    running: ObservedJob | None = None
    wait_seconds: float | None = None
    """Pause before the next try; None: it is due, or running, or done."""
    look_again_seconds: float | None = None
    """When a running try has had long enough to start."""
    hopeless: DeleteJob | None = None
    """Ends a try whose pod does not start."""


def look_after_errand(look: Look, status: TrainingJobStatus, role: Role, wish: str) -> Errand:
    """Return how far an errand is.

    Args:
        look: this look.
        status: holds the count of failures.
        role: publish or collect.
        wish: digest of what is to be done.
    """
    failures = status.failures or 0
    name = _name(look, role, wish, failures)
    job = look.find_job(name)
    if job is None:
        before = look.find_job(_name(look, role, wish, failures - 1)) if failures else None
        return _await_next(look, name, failures, before)
    report = find_report(job) if job.complete else None
    if report is not None:
        return Errand(name, failures, report=report)
    if is_over(job):
        return _await_next(look, _name(look, role, wish, failures + 1), failures + 1, job)
    stuck, start_seconds = find_start_problem(look, job)
    if stuck:
        following = _name(look, role, wish, failures + 1)
        return Errand(following, failures + 1, problem=stuck, wait_seconds=0.0, hopeless=DeleteJob(job.name, job.uid))
    said = find_report(job)
    is_done = said is not None and said.reason is Reason.COMPLETED  # its Job is only not closed yet
    problem = explain_job(job)[1] if any(pod.report for pod in job.pods) and not is_done else ""
    return Errand(name, failures, running=job, problem=problem, look_again_seconds=start_seconds)


def pause_after(failures: int) -> float:
    """Return the seconds before the next try: 30 after the first failure, doubled by each, an hour at most."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))


def name_tries(look: Look, role: Role, wish: str, failures: int) -> list[str]:
    """Return the names of every try so far, the one under way or due included, oldest first; at most the last 64."""
    return [_name(look, role, wish, number) for number in range(max(0, failures + 1 - _LISTED_TRIES), failures + 1)]


def _name(look: Look, role: Role, wish: str, failures: int) -> str:
    """Return the name of one try. It holds the object's UID: one created again has the same wishes."""
    return name_errand(look.meta.name, role, digest_of([look.meta.uid, wish, failures]))


def _await_next(look: Look, name: str, failures: int, before: ObservedJob | None) -> Errand:
    if before is None:
        return Errand(name, failures)
    ended = max((pod.finished_at for pod in before.pods if pod.finished_at), default=before.created_at)
    due = instants.add_seconds(ended, pause_after(failures))
    wait = instants.seconds_between(look.now, due)
    problem = explain_job(before)[1]
    if before.complete:
        problem = "" if find_report(before) else f"Job {before.name} ended without a last word"
    return Errand(name, failures, problem=problem, wait_seconds=wait if wait > 0 else None)


def explain_errand(look: Look, status: TrainingJobStatus, errand: Errand, state: State, failing: Reason) -> Verdict:
    """Return the verdict of an errand that is not done: Stalled once a try has failed, and until one succeeds.

    Args:
        look: this look.
        status: the status so far.
        errand: how far it is.
        state: the state word while it lasts.
        failing: reason of Stalled.
    """
    before = conditions.find(look.view.status, Condition.STALLED)
    remembered = before.message if before is not None and before.reason == failing else ""
    message = errand.problem or remembered if errand.failures else errand.problem
    return Verdict(
        status,
        state,
        message or f"Job {errand.name} is at work",
        stalled=failing if errand.failures else None,
        actions=(errand.hopeless,) if errand.hopeless else (),
        look_again_seconds=errand.look_again_seconds if errand.wait_seconds is None else errand.wait_seconds,
    )
