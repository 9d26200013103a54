"""The state word and the summary conditions: what a stage found becomes one status and one Plan.

Every stage ends in a `Verdict`. The summary follows from it and from nothing else, so that no two conditions can
contradict each other: Ready, Suspended, Stalled and, exactly when none of the three holds, Reconciling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from atelier_contract.reasons import READY_STATES, TRAINING_JOB_CONDITIONS, Condition, Reason, State
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import Action, CreateJob, ObservedPod, Plan, TrainingJobView
from atelier_operator.plan import conditions
from atelier_operator.plan.progress import throttle

REFUSED_AGAIN_SECONDS = 60.0
"""Pause before a child that the API server refused is asked for again."""


@dataclass(frozen=True)
class Verdict:
    """Where a run stands and what follows."""

    status: TrainingJobStatus
    """Facts folded in; the summary conditions not yet."""
    state: State
    message: str = ""
    stalled: Reason | None = None
    actions: tuple[Action, ...] = ()
    status_first: bool = False
    look_again_seconds: float | None = None
    ask_pod: ObservedPod | None = None

    def with_actions(self, *, before: Iterable[Action] = (), after: Iterable[Action] = ()) -> Verdict:
        """Return the verdict with more to do."""
        return replace(self, actions=(*before, *self.actions, *after))


_FIRST_CLAIMS: tuple[tuple[Condition, bool | None, Reason, str], ...] = (
    (Condition.DATASET_READY, False, Reason.NOT_YET, "the dataset has not been looked at"),
    (Condition.COMPLETE, False, Reason.NOT_YET, ""),
    (Condition.FAILED, False, Reason.AS_EXPECTED, ""),
    (Condition.FINISHED, False, Reason.NOT_YET, ""),
    (Condition.SELECTION_VALID, None, Reason.NOT_ASKED, "nothing is selected"),
    (Condition.FINALIZED, False, Reason.NOT_ASKED, ""),
    (Condition.PROGRESS_REPORTED, False, Reason.NOT_YET, "no pod is training"),
)
"""What holds of a run that has not begun."""


def conclude(view: TrainingJobView, verdict: Verdict, now: datetime) -> Plan:
    """Return the plan that a verdict means.

    Args:
        view: what was observed; its status is what is written already.
        verdict: what the stage found.
        now: the time of this look.
    """
    verdict = _show_refusal(view, verdict)
    status = verdict.status
    for kind, value, reason, message in _FIRST_CLAIMS:
        if conditions.find(status, kind) is None:
            status = conditions.claim(status, kind, value, reason, message, now=now)
    status = _summarise(status, verdict, now)
    order = (*TRAINING_JOB_CONDITIONS, Condition.INSTALLED)
    status, held_seconds = throttle(view.status, conditions.arrange(status, order, view.meta.generation), now)
    waits = [seconds for seconds in (verdict.look_again_seconds, held_seconds) if seconds is not None]
    return Plan(
        status=status,
        actions=verdict.actions,
        write_status_first=verdict.status_first,
        look_again_seconds=max(0.0, min(waits)) if waits else None,
        ask_pod=verdict.ask_pod,
        labels={"state": verdict.state.value},
    )


def _summarise(status: TrainingJobStatus, verdict: Verdict, now: datetime) -> TrainingJobStatus:
    """Return the status with the four summary conditions."""
    stalled = verdict.stalled is not None
    suspended = verdict.state is State.SUSPENDED and not stalled
    ready = verdict.state in READY_STATES and not stalled
    busy = not (stalled or suspended or ready)
    stalled_reason = verdict.stalled or Reason.AS_EXPECTED
    pause = Reason.USER_REQUEST if suspended else Reason.NOT_ASKED
    work = Reason.IN_PROGRESS if busy else Reason.AS_EXPECTED
    message = verdict.message
    for kind, value, reason, said in (
        (Condition.READY, ready, verdict.state.value, message),
        (Condition.RECONCILING, busy, work, message if busy else ""),
        (Condition.STALLED, stalled, stalled_reason, message if stalled else ""),
        (Condition.SUSPENDED, suspended, pause, "spec.suspend is true" if suspended else ""),
    ):
        status = conditions.claim(status, kind, value, reason, said, now=now)
    return status


def _show_refusal(view: TrainingJobView, verdict: Verdict) -> Verdict:
    """Return the verdict, Stalled where a child is due that the API server has refused."""
    creating = any(isinstance(action, CreateJob) for action in verdict.actions)
    if not (view.refused and creating) or verdict.stalled:
        return verdict
    message = f"the API server refuses a Job of this run: {view.refused}"
    waits = [s for s in (verdict.look_again_seconds, REFUSED_AGAIN_SECONDS) if s is not None]
    return replace(verdict, stalled=Reason.CREATE_REFUSED, message=message, look_again_seconds=min(waits))
