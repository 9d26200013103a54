"""Training: the one Job with a GPU, from its creation to its end; and what a pod's course means for the state word."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import ControlFile
from atelier_contract.names import CONTAINER
from atelier_contract.reasons import Reason, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import ObservedJob, ObservedPod, WriteControl
from atelier_operator.plan.attempts import close_attempts, sum_seconds, was_attempted
from atelier_operator.plan.children import Needs
from atelier_operator.plan.failures import OUT_OF_MEMORY_ADVICE, explain_job, find_killed, find_report
from atelier_operator.plan.launching import WAIT_SECONDS, launch
from atelier_operator.plan.look import LOST_AFTER_SECONDS, Look, active_pod, is_over, waiting_pod
from atelier_operator.plan.names import name_ordinal
from atelier_operator.plan.outcomes import complete, fail
from atelier_operator.plan.pod_starts import explain_waiting, find_start_problem
from atelier_operator.plan.progress import ASK_SECONDS, record_progress
from atelier_operator.plan.resolved import read_row
from atelier_operator.plan.rounds import close_round, open_training, read_round
from atelier_operator.plan.run_children import build_run_child, find_missing_dataset
from atelier_operator.plan.state import Verdict

_LEAST_GRACE_SECONDS = 120
_GRACE_BASE_SECONDS = 60
_STATE_BYTES_PER_SECOND = 20_000_000
"""A slow store; DESIGN section 7 gives the formula."""
_STATE_FACTORS = {"Prodigy": 5}
"""Weights, two moments, and what the optimiser keeps beside them, each as large as a checkpoint's file."""
_STATE_FACTOR = 3
_NO_POD_YET = "the training Job has no pod yet"
_PREPARING = ("Starting", "Fetching", "Verifying", "Caching")


def name_training(look: Look, status: TrainingJobStatus) -> str:
    """Return the name of this round's training Job."""
    return name_ordinal(look.meta.name, Role.TRAIN, read_round(status))


def begin_training(look: Look, status: TrainingJobStatus) -> Verdict:
    """Return the verdict that asks for this round's training Job, once no earlier pod can be at work."""
    name = name_training(look, status)
    waiting = _explain_wait(look, name)
    if waiting:
        return Verdict(status, State.RESTARTING, waiting, look_again_seconds=WAIT_SECONDS)
    dataset, missing = look.view.dataset, find_missing_dataset(look)
    if dataset is None or missing:
        message = f"there is no Dataset {missing} any more: the run needs it to go on"
        return Verdict(status, State.WAITING_FOR_DATASET, message, look_again_seconds=60.0)
    status = open_training(status)
    state = State.QUEUED if look.spec.queue_name else State.SCHEDULING
    child = replace(
        build_run_child(look, status, dataset.spec, Role.TRAIN, name),
        needs=_read_needs(status),
        grace_seconds=estimate_grace(status),
        control=ControlFile(stop=look.stopping),
        queue_name=look.spec.queue_name or "",
    )
    return launch(look, Verdict(status, state, _NO_POD_YET), child)


def end_training(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, Verdict | None]:
    """Return the status of a run whose training Job has ended, or a verdict of failure; else all as it was."""
    job = look.find_job(name_training(look, status))
    if job is None:
        return status, None
    if find_killed(job) is not None and not job.complete:
        return status, fail(look, status, Reason.OUT_OF_HOST_MEMORY, OUT_OF_MEMORY_ADVICE)
    if job.failed:
        reason, message = explain_job(job)
        return status, fail(look, status, reason, message)
    report = find_report(job) if job.complete else None
    if report is None or report.train is None:
        return status, None
    if not report.train.complete:
        message = f"Job {job.name} ended without completing the run: {report.message or 'no reason given'}"
        return status, fail(look, status, Reason.TRAINER_ERROR, message)
    reason = Reason.STOPPED_EARLY if report.train.stopped_early else Reason.TRAINING_COMPLETE
    message = f"trained to step {report.train.to_step}" + (
        "" if report.train.exact else "; the resumed part is not exact"
    )
    if report.message:
        message = f"{message}; {report.message}"  # what the checkpoints say against the result
    return complete(look, status, reason, message), None


def needs_new_round(look: Look, status: TrainingJobStatus) -> bool:
    """Return whether this round's training Job is over or gone without a word on how it ended.

    Its pod's last word went with it. The next preflight reads the manifests in the store and tells the same.
    """
    job = look.find_job(name_training(look, status))
    if job is None:
        return was_attempted(status, read_round(status))
    return job.complete


def find_lost_pod(look: Look, status: TrainingJobStatus) -> ObservedPod | None:
    """Return a pod of this round that is beyond reach on a lost node."""
    job = look.find_job(name_training(look, status))
    return next((pod for pod in job.pods if look.is_lost(pod) and pod.exit_code is None), None) if job else None


def leave_round(look: Look, status: TrainingJobStatus, reason: Reason) -> TrainingJobStatus:
    """Return the status with this round over and its attempts ended for a reason that no pod can tell."""
    return close_round(close_attempts(look, status, reason))


def follow_training(look: Look, status: TrainingJobStatus) -> Verdict:
    """Return the verdict of a training Job that is there and has not ended."""
    job = look.find_job(name_training(look, status))
    if job is None:
        return begin_training(look, status)
    verdict = _follow(look, status, job)
    # Asked for at every look: one that failed must not lose it. An unchanged file is read once and never written again.
    if look.stopping and not is_over(job) and job.deleted_at is None:
        verdict = verdict.with_actions(after=(WriteControl(job.name, ControlFile(stop=True)),))
    return verdict


def estimate_grace(status: TrainingJobStatus) -> int:
    """Return the seconds a pod needs to save its state when it is told to end.

    60 + state bytes / 20 MB/s, at least 120. The state is taken as three checkpoints' size, more where the optimiser or
    a running mean keeps more. Example: 40 checkpoints of 40 MB each: 60 + 120e6 / 20e6 = 66, so 120.
    """
    storage_bytes = status.estimate.storage_bytes if status.estimate else 0
    rows = status.resolved or []
    count = ceil(int(read_row(rows, "steps")) / int(read_row(rows, "checkpoints.everySteps")))
    values = {row.name: row.value for row in rows}
    factor = _STATE_FACTORS.get(values.get("tuning.optimizer", ""), _STATE_FACTOR)
    keeps_mean = float(values.get("tuning.emaDecay") or 0) > 0
    state_bytes = (factor + keeps_mean) * storage_bytes / max(1, count)
    return max(_LEAST_GRACE_SECONDS, _GRACE_BASE_SECONDS + ceil(state_bytes / _STATE_BYTES_PER_SECOND))


def _follow(look: Look, status: TrainingJobStatus, job: ObservedJob) -> Verdict:
    if job.deleted_at is not None:
        return Verdict(status, State.RESTARTING, f"Job {job.name} is being deleted", look_again_seconds=WAIT_SECONDS)
    if job.suspended:
        return Verdict(status, State.QUEUED, f"Job {job.name} waits for queue {look.spec.queue_name or 'admission'}")
    problem, start_seconds = find_start_problem(look, job)
    if problem:
        return fail(look, status, Reason.START_DEADLINE_EXCEEDED, problem)
    limit = look.spec.pod.deadline_seconds if look.spec.pod else None
    spent = sum_seconds(look, status)
    if limit is not None and spent >= limit:
        message = f"training took longer than pod.deadlineSeconds ({limit} s) in all; its checkpoints are kept"
        # Closed here: the pod is deleted next, and with it would go how long it ran.
        return fail(look, close_attempts(look, status, Reason.DEADLINE_EXCEEDED), Reason.DEADLINE_EXCEEDED, message)
    verdict = _follow_pod(look, status, job)
    waits = [verdict.look_again_seconds, start_seconds]
    if limit is not None and active_pod(job) is not None:
        waits.append(limit - spent)
    known = [seconds for seconds in waits if seconds is not None]
    return replace(verdict, look_again_seconds=min(known) if known else None)


def _follow_pod(look: Look, status: TrainingJobStatus, job: ObservedJob) -> Verdict:
    pod = active_pod(job)
    if pod is None:
        last = max((p for p in job.pods if p.index == 0), key=lambda p: (p.created_at, p.name), default=None)
        if last is not None and last.exit_code == ExitCode.DONE:
            # The pod is done a moment before its Job says so: nothing restarts.
            return Verdict(status, State.TRAINING, f"pod {last.name} is done; its Job is being closed")
        message = explain_job(job)[1] if job.pods else _NO_POD_YET
        return Verdict(status, State.RESTARTING if job.pods else State.SCHEDULING, message)
    if pod.deleted_at is not None:
        left = LOST_AFTER_SECONDS + 1 - look.seconds_since(pod.deleted_at)
        message = f"pod {pod.name} is ending"
        return Verdict(status, State.RESTARTING, message, look_again_seconds=max(WAIT_SECONDS, left))
    waiting = waiting_pod(job)
    if waiting is not None:
        state = State.SCHEDULING if waiting.scheduled_at is None else State.STARTING
        return Verdict(status, state, explain_waiting(waiting))
    status = record_progress(look, status, pod)
    phase = status.progress.phase if status.progress else ""
    preparing = not phase or phase in _PREPARING or not _speaks_of(look, pod)
    state = State.PREPARING if preparing else State.TRAINING
    message = f"pod {pod.name} on {pod.node}"
    if look.stopping:
        message = f"{CONTAINER} has been told to stop: it writes a checkpoint and ends"
    return Verdict(status, state, message, look_again_seconds=ASK_SECONDS, ask_pod=pod if pod.ip else None)


def _speaks_of(look: Look, pod: ObservedPod) -> bool:
    """Return whether the progress in status is of this pod: an earlier attempt's says nothing of it."""
    if look.view.progress is not None and look.view.progress.pod_uid == pod.uid:
        return True
    before = look.view.status.attempts or []
    return bool(before) and before[-1].id == pod.uid


def _explain_wait(look: Look, name: str) -> str:
    """Return what must end before another training pod may begin; empty: nothing."""
    pods = look.list_unfenced(except_job=name)
    if pods:
        return f"waiting for pod {pods[0].name} to end before the next one starts"
    for job in look.own_jobs(Role.TRAIN):
        # An earlier Job that is still alive could start a pod of its own at any moment.
        if job.name != name and not is_over(job) and job.deleted_at is None:
            return f"waiting for Job {job.name} to go before the next one starts"
    return ""


def _read_needs(status: TrainingJobStatus) -> Needs:
    rows = status.resolved or []
    return Needs(
        cpu=read_row(rows, "pod.cpu"),
        memory=read_row(rows, "pod.memory"),
        ephemeral_storage=read_row(rows, "pod.ephemeralStorage"),
        gpus=int(read_row(rows, "pod.gpus")),
        gpu_resource=read_row(rows, "pod.gpuResource"),
    )
