"""Live progress: a pod's answer turned into status, and the throttle that keeps it from becoming a stream of writes."""

from __future__ import annotations

from datetime import datetime

from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Condition, Reason
from atelier_contract.training_job_status import ProgressStatus, TrainingJobStatus
from atelier_operator.model import ObservedPod
from atelier_operator.plan import instants
from atelier_operator.plan.attempts import find_answer
from atelier_operator.plan.look import Look

ASK_SECONDS = 5.0
"""Pause between two questions to a running pod."""
WRITE_SECONDS = 10.0
"""Shortest time between two status writes of one job for progress alone."""


def record_progress(look: Look, status: TrainingJobStatus, pod: ObservedPod) -> TrainingJobStatus:
    """Return the status with what the running pod last answered, or that it did not."""
    asked = look.view.progress
    if asked is None or asked.pod_uid != pod.uid:
        return look.claim(status, Condition.PROGRESS_REPORTED, False, Reason.NOT_YET, "the pod has not been asked yet")
    report = find_answer(look, pod, status)
    if report is None:
        problem = asked.problem or "the answer is not of this run"
        message = f"pod {pod.name} does not report progress ({problem}); the run goes on"
        return look.claim(status, Condition.PROGRESS_REPORTED, False, Reason.UNREACHABLE, message)
    told = "; ".join(report.warnings)
    status = look.claim(status, Condition.PROGRESS_REPORTED, True, Reason.REPORTING, told)
    return status.model_copy(update={"progress": read_progress(report, asked.asked_at)})


def read_progress(report: ProgressReport, asked_at: datetime) -> ProgressStatus:
    """Return a report as status carries it: whole numbers, and decimals as text."""
    return ProgressStatus(
        phase=report.phase,
        step=report.step,
        total_steps=report.total_steps,
        percent=min(100, report.step * 100 // report.total_steps),
        epoch=report.epoch,
        loss="" if report.loss is None else f"{report.loss:.4f}",
        images_per_second="" if report.images_per_second is None else f"{report.images_per_second:.2f}",
        remaining_seconds=None if report.remaining_seconds is None else max(0, report.remaining_seconds),
        observed_at=instants.format_time(asked_at),
    )


def throttle(old: TrainingJobStatus, new: TrainingJobStatus, now: datetime) -> tuple[TrainingJobStatus, float | None]:
    """Return the status to write, and when to look again where progress was held back.

    Progress alone is written once in ten seconds, and not at all where nothing but the time of asking moved. Together
    with anything else it is always written.
    """
    if old.progress is None or new.progress is None or new.progress == old.progress:
        return new, None
    held = new.model_copy(update={"progress": old.progress})
    if held != old:
        return new, None
    if new.progress.model_copy(update={"observed_at": old.progress.observed_at}) == old.progress:
        return held, None
    waited = instants.seconds_between(instants.read_time(old.progress.observed_at), now)
    return (new, None) if waited >= WRITE_SECONDS else (held, WRITE_SECONDS - waited)
