"""How a run ends: the claims that go with completion, failure and a retry, and the verdict of a failed run."""

from __future__ import annotations

from collections.abc import Iterator

from atelier_contract import names
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import DeleteJob, EmitEvent
from atelier_operator.plan import conditions, instants
from atelier_operator.plan.attempts import sum_seconds
from atelier_operator.plan.look import Look, is_over
from atelier_operator.plan.rounds import close_round
from atelier_operator.plan.state import Verdict

_RETRY_LENGTH = 64
_NO_TIME_LEFT = (
    "pod.deadlineSeconds is used up, so a retry cannot train: create a new TrainingJob with startFrom one of these"
    " checkpoints, or with a longer pod.deadlineSeconds"
)


def complete(look: Look, status: TrainingJobStatus, reason: Reason, message: str) -> TrainingJobStatus:
    """Return the status of a run whose training is over and whose checkpoints are there."""
    status = look.claim(status, Condition.COMPLETE, True, reason, message)
    status = look.claim(status, Condition.FINISHED, True, reason, message)
    return _end(look, status, reason)


def fail(look: Look, status: TrainingJobStatus, reason: Reason, message: str) -> Verdict:
    """Return the verdict that ends a run as failed. It is written before anything is deleted for it."""
    status = look.claim(status, Condition.FAILED, True, reason, message)
    status = look.claim(status, Condition.FINISHED, True, reason, message)
    event = EmitEvent("Warning", reason.value, message)
    return Verdict(
        _end(look, status, reason), State.FAILED, message, stalled=reason, actions=(event,), status_first=True
    )


def stay_failed(status: TrainingJobStatus) -> Verdict:
    """Return the verdict of a run that has failed: nothing but the user's word changes it."""
    failed = conditions.find(status, Condition.FAILED)
    reason = Reason(failed.reason) if failed and failed.reason in set(Reason) else Reason.TRAINER_ERROR
    return Verdict(status, State.FAILED, failed.message if failed else "", stalled=reason)


def take_retry(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, bool]:
    """Return the status with a retry request taken, and whether it has an effect that must be on record first.

    A request is taken once, also where there is nothing to retry: a copied annotation must not fire later.
    """
    asked = look.meta.annotations.get(names.ANNOTATION_RETRY_REQUESTED_AT, "")[:_RETRY_LENGTH]
    if not asked or asked == status.last_handled_retry_at:
        return status, False
    status = status.model_copy(update={"last_handled_retry_at": asked})
    if conditions.is_true(status, Condition.FAILED):
        if _is_spent(look, status):
            return look.claim(status, Condition.FAILED, True, Reason.DEADLINE_EXCEEDED, _NO_TIME_LEFT), True
        status = look.claim(status, Condition.FAILED, False, Reason.AS_EXPECTED, "")
        status = look.claim(status, Condition.FINISHED, False, Reason.NOT_YET, "")
        return close_round(status.model_copy(update={"completion_time": None})), True
    if status.failures:
        # The next number without a Job before it: the pause is not waited for.
        return status.model_copy(update={"failures": status.failures + 1}), True
    return status, False


def find_strays(look: Look, wanted: str) -> Iterator[DeleteJob]:
    """Yield the deletion of every unfinished preflight and training Job that is not the wanted one.

    This one rule frees the GPU after a failure, a pause, a lost node and an adoption.
    """
    for job in (*look.own_jobs(Role.PREFLIGHT), *look.own_jobs(Role.TRAIN)):
        if job.name != wanted and not is_over(job) and job.deleted_at is None:
            yield DeleteJob(job.name, job.uid)


def _is_spent(look: Look, status: TrainingJobStatus) -> bool:
    """Return whether a run failed for its deadline, which it would exceed again at once."""
    failed = conditions.find(status, Condition.FAILED)
    limit = look.spec.pod.deadline_seconds if look.spec.pod else None
    if failed is None or failed.reason != Reason.DEADLINE_EXCEEDED or limit is None:
        return False
    return sum_seconds(look, status) >= limit


def _end(look: Look, status: TrainingJobStatus, reason: Reason) -> TrainingJobStatus:
    if conditions.find(status, Condition.PROGRESS_REPORTED) is not None:
        status = look.claim(status, Condition.PROGRESS_REPORTED, False, reason, "no pod is training")
    return status.model_copy(update={"completion_time": instants.format_time(look.now)})
