"""Preflight: before any GPU is asked for, a short CPU Job finds everything that can be missing, and a run to adopt."""

from __future__ import annotations

from dataclasses import replace

from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.termination import PreflightResult, TerminationReport, expand_row
from atelier_contract.training_job_status import EstimateStatus, TrainingJobStatus
from atelier_operator.model import ObservedJob
from atelier_operator.plan.checkpoints import lose_rows, merge_rows
from atelier_operator.plan.failures import explain_job, find_ended_pods, find_killed, find_report
from atelier_operator.plan.launching import WAIT_SECONDS, launch
from atelier_operator.plan.look import Look, active_pod
from atelier_operator.plan.models import add_models, describe_model
from atelier_operator.plan.names import name_ordinal
from atelier_operator.plan.outcomes import complete, fail
from atelier_operator.plan.pod_starts import explain_waiting, find_start_problem
from atelier_operator.plan.rounds import close_round, open_preflight, read_round
from atelier_operator.plan.run_children import build_run_child, find_missing_dataset
from atelier_operator.plan.state import Verdict

_UNSPECIFIC = (Reason.TRAINER_ERROR, Reason.RETRIES_EXHAUSTED, Reason.COMPLETED, Reason.DISRUPTED)


def follow_preflight(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, Verdict | None]:
    """Return the status and a verdict; no verdict where preflight is done and training (or completion) is next."""
    name = name_ordinal(look.meta.name, Role.PREFLIGHT, read_round(status))
    job = look.find_job(name)
    # Also where the Job is there already: an operator may have been lost between making it and saying so.
    status = open_preflight(status)
    if job is None:
        return status, _begin(look, status, name)
    if job.deleted_at is not None:
        return status, Verdict(status, State.PREFLIGHT, f"Job {name} is being deleted", look_again_seconds=WAIT_SECONDS)
    if job.failed or find_killed(job) is not None:
        return status, _fail(look, status, job)
    if not job.complete:
        return status, _await(look, status, job)
    report = find_report(job)
    if report is None or report.preflight is None:
        # It succeeded, and its last word is gone with its pod: the next round asks again.
        status = close_round(status)
        return status, _begin(
            look, open_preflight(status), name_ordinal(look.meta.name, Role.PREFLIGHT, read_round(status))
        )
    return _take_result(look, status, report, report.preflight), None


def _begin(look: Look, status: TrainingJobStatus, name: str) -> Verdict:
    verdict = Verdict(status, State.PREFLIGHT, _explain_work(name))
    dataset, missing = look.view.dataset, find_missing_dataset(look)
    if dataset is None or missing:
        message = f"there is no Dataset {missing} any more: the run needs it to go on"
        return replace(verdict, state=State.WAITING_FOR_DATASET, message=message, look_again_seconds=60.0)
    child = build_run_child(look, status, dataset.spec, Role.PREFLIGHT, name)
    return launch(look, verdict, child)


def _explain_work(name: str) -> str:
    return f"Job {name} looks for what could be missing before a GPU is asked for"


def _await(look: Look, status: TrainingJobStatus, job: ObservedJob) -> Verdict:
    if job.suspended:
        return Verdict(status, State.QUEUED, f"Job {job.name} waits for its queue")
    problem, look_again_seconds = find_start_problem(look, job)
    if problem:
        return fail(look, status, Reason.START_DEADLINE_EXCEEDED, problem)
    message = _explain_work(job.name)
    pod, ended = active_pod(job), find_ended_pods(job)
    if ended:
        message = explain_job(job)[1]
    elif pod is not None and pod.waiting_reason:
        message = explain_waiting(pod)
    return Verdict(status, State.PREFLIGHT, message, look_again_seconds=look_again_seconds)


def _fail(look: Look, status: TrainingJobStatus, job: ObservedJob) -> Verdict:
    reason, message = explain_job(job)
    return fail(look, status, Reason.PREFLIGHT_FAILED if reason in _UNSPECIFIC else reason, message)


def _take_result(
    look: Look, status: TrainingJobStatus, report: TerminationReport, result: PreflightResult
) -> TrainingJobStatus:
    """Return the status with what preflight found; a finished run is adopted whole."""
    estimate = EstimateStatus(
        gpu_memory_bytes=result.gpu_memory_bytes, storage_bytes=result.storage_bytes, seconds=result.seconds
    )
    rows = [expand_row(row) for row in report.rows]
    status = status.model_copy(update={"run_identity": result.run_identity, "estimate": estimate})
    status = merge_rows(look, status, rows)
    if result.complete:
        return _adopt(look, lose_rows(status, rows), report, result)
    if look.stopping and not rows and not status.attempts:
        return complete(look, status, Reason.STOPPED_EARLY, "stopped before the first step")
    return status


def _adopt(
    look: Look, status: TrainingJobStatus, report: TerminationReport, result: PreflightResult
) -> TrainingJobStatus:
    """Return the status of a run that the store holds finished; one that was finalized is so again."""
    message = report.message or "a finished run of this identity was found in the store"
    reason = Reason.STOPPED_EARLY if result.stopped_early else Reason.ADOPTED
    status = complete(look, status, reason, message)
    if not result.finalized:
        return status
    models = [describe_model(look, status, step, sha256, size) for step, size, sha256 in result.published]
    status = look.claim(add_models(status, models), Condition.FINALIZED, True, Reason.ADOPTED, message)
    return look.claim(status, Condition.SELECTION_VALID, True, Reason.ADOPTED, "the run was finalized before")
