"""Why a pod or a Job ended badly, in a reason and a sentence: last words first, then exit codes, then the Job's own."""

from __future__ import annotations

from atelier_contract import exit_codes
from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import REASON_OF_EXIT, Reason
from atelier_contract.termination import TerminationReport
from atelier_operator.model import ObservedJob, ObservedPod
from atelier_operator.plan.look import is_active

OUT_OF_MEMORY_ADVICE = (
    "the container needed more memory than its limit and was killed: create a new TrainingJob with a higher"
    " spec.pod.memory, or a smaller tuning.batchSize or tuning.resolution"
)


def find_ended_pods(job: ObservedJob) -> list[ObservedPod]:
    """Return a Job's ended pods, newest first."""
    ended = [pod for pod in job.pods if not is_active(pod)]
    return sorted(ended, key=lambda pod: (pod.created_at, pod.name), reverse=True)


def find_report(job: ObservedJob) -> TerminationReport | None:
    """Return the newest last words of a Job's leading pods that speak of the Job's own role."""
    reports = [pod.report for pod in find_ended_pods(job) if pod.report is not None and pod.index == 0]
    return next((report for report in reports if report.role is job.role), None)


def find_killed(job: ObservedJob) -> ObservedPod | None:
    """Return a pod whose container the kernel killed for memory: the failure policy cannot see that."""
    return next((pod for pod in find_ended_pods(job) if pod.oom_killed), None)


def explain_pod(pod: ObservedPod) -> tuple[Reason, str]:
    """Return why a pod ended."""
    if pod.oom_killed:
        return Reason.OUT_OF_HOST_MEMORY, OUT_OF_MEMORY_ADVICE
    if pod.disrupted:
        return Reason.DISRUPTED, f"pod {pod.name} was evicted or preempted"
    if pod.report is not None:
        return pod.report.reason, pod.report.message or f"pod {pod.name} ended with {pod.report.reason}"
    code = pod.exit_code
    if code == ExitCode.DONE:
        return Reason.COMPLETED, ""
    known = {int(key): reason for key, reason in REASON_OF_EXIT.items()}
    reason = known.get(code, Reason.TRAINER_ERROR) if code is not None else Reason.TRAINER_ERROR
    how = "without an exit code" if code is None else f"with exit code {code}"
    return reason, f"pod {pod.name} ended {how} and left no message: see `kubectl logs {pod.name}`"


def explain_job(job: ObservedJob) -> tuple[Reason, str]:
    """Return why a Job failed: what its newest ended pod says, or else what Kubernetes says.

    Of pods that train together, those that ended because another did are asked last.
    """
    killed = find_killed(job)
    if killed is not None:
        return explain_pod(killed)
    ended = find_ended_pods(job)
    if any(pod.index for pod in ended):
        ended.sort(key=lambda pod: pod.exit_code in {*exit_codes.IGNORED, ExitCode.DONE})
    if ended:
        reason, message = explain_pod(ended[0])
        if reason not in {Reason.COMPLETED, Reason.DISRUPTED}:
            return reason, message
    said = ": ".join(part for part in (job.failure_reason, job.failure_message) if part)
    return Reason.RETRIES_EXHAUSTED, f"Job {job.name} failed ({said or 'no reason given'})"
