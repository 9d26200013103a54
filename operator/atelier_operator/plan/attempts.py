"""The table of attempts: one row for every pod that began to train, oldest first, the last ten.

Rows are written when an attempt begins and when it ends, not while it runs: a growing number would cost a status write
at every look. Of a row that leaves the ten its time is kept, for the deadline. A pod that is gone without a last word
still gets its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.training_job_status import MAX_ATTEMPTS, AttemptStatus, TrainingJobStatus
from atelier_operator.model import ObservedPod
from atelier_operator.plan import instants
from atelier_operator.plan.failures import explain_pod
from atelier_operator.plan.look import Look, is_active
from atelier_operator.plan.names import read_ordinal


def record_attempts(look: Look, status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status with its attempts brought up to what is seen."""
    seen = {pod.uid: (ordinal, pod) for ordinal, pod in _list_started(look)}
    rows: list[AttemptStatus] = []
    for row in status.attempts or []:
        if row.id in seen:
            rows.append(_update(look, row, seen[row.id][1], status))
        elif not row.reason and not any(pod.uid == row.id for pod in look.view.orphans):
            rows.append(row.model_copy(update={"reason": _explain_absence(look)}))
        else:
            rows.append(row)
    for ordinal, pod in _list_new(rows, list(seen.values())):
        rows.append(_update(look, AttemptStatus(id=pod.uid, ordinal=ordinal), pod, status))
    if not rows:
        return status
    first = min((pod.started_at for _, pod in seen.values() if pod.started_at), default=None)
    update: dict[str, object] = {"attempts": rows[-MAX_ATTEMPTS:]}
    dropped = sum(row.seconds for row in rows[:-MAX_ATTEMPTS])
    if dropped:
        update["earlier_attempts_seconds"] = (status.earlier_attempts_seconds or 0) + dropped
    if status.start_time is None and first is not None:
        update["start_time"] = instants.format_time(first)
    return status.model_copy(update=update)


def close_attempts(look: Look, status: TrainingJobStatus, reason: Reason) -> TrainingJobStatus:
    """Return the status with every running attempt ended for a reason that only the operator knows."""
    pods = {pod.uid: pod for _, pod in _list_started(look)}
    rows = [row if row.reason else _close(look, row, pods.get(row.id), reason) for row in status.attempts or []]
    return status.model_copy(update={"attempts": rows}) if rows else status


def sum_seconds(look: Look, status: TrainingJobStatus) -> float:
    """Return how long the run has trained in all, the running attempt included."""
    ended = sum(row.seconds for row in status.attempts or [] if row.reason) + (status.earlier_attempts_seconds or 0)
    open_rows = {row.id for row in status.attempts or [] if not row.reason}
    running = [p.started_at for _, p in _list_started(look) if p.uid in open_rows and p.started_at and is_active(p)]
    return ended + sum(look.seconds_since(started) for started in running)


def was_attempted(status: TrainingJobStatus, ordinal: int) -> bool:
    """Return whether the training Job of this ordinal ever had a running pod."""
    return any(row.ordinal == ordinal for row in status.attempts or [])


def find_answer(look: Look, pod: ObservedPod, status: TrainingJobStatus) -> ProgressReport | None:
    """Return what this pod last answered, if it spoke of itself and this run."""
    asked = look.view.progress
    report = asked.report if asked is not None and asked.pod_uid == pod.uid else None
    if report is None or report.attempt != pod.uid or report.run_identity != status.run_identity:
        return None
    return report


def _list_started(look: Look) -> Iterator[tuple[int, ObservedPod]]:
    """Yield the training pods whose container has run, with the ordinal of their Job, oldest first.

    Of pods that train together the leader stands for all.
    """
    jobs = look.own_jobs(Role.TRAIN)
    pods = [(read_ordinal(job.name), pod) for job in jobs for pod in job.pods if pod.index == 0]
    for ordinal, pod in sorted(pods, key=lambda pair: (pair[1].created_at, pair[1].name)):
        if pod.started_at is not None or pod.exit_code is not None:
            yield ordinal, pod


def _list_new(rows: Iterable[AttemptStatus], seen: list[tuple[int, ObservedPod]]) -> Iterator[tuple[int, ObservedPod]]:
    """Yield the pods younger than the youngest that has a row: an older one without a row was dropped from the ten."""
    known = {row.id for row in rows}
    youngest = max((index for index, (_, pod) in enumerate(seen) if pod.uid in known), default=-1)
    yield from seen[youngest + 1 :]


def _update(look: Look, row: AttemptStatus, pod: ObservedPod, status: TrainingJobStatus) -> AttemptStatus:
    update: dict[str, object] = {"node": pod.node}
    answer = find_answer(look, pod, status)
    if answer is not None:
        update["from_step"] = answer.from_step
    if not is_active(pod):
        update |= _describe_end(row, pod, status)
    return row.model_copy(update=update)


def _describe_end(row: AttemptStatus, pod: ObservedPod, status: TrainingJobStatus) -> dict[str, object]:
    result = pod.report.train if pod.report else None
    end: dict[str, object] = {}
    if not row.reason:
        end["reason"] = explain_pod(pod)[0].value
        end["to_step"] = row.from_step
        if status.progress is not None:
            end["to_step"] = max(row.from_step, status.progress.step)
    if result is not None:
        end |= {"from_step": result.from_step, "to_step": result.to_step}
    if pod.started_at is not None and pod.finished_at is not None:
        end["seconds"] = max(0, int(instants.seconds_between(pod.started_at, pod.finished_at)))
    return end


def _close(look: Look, row: AttemptStatus, pod: ObservedPod | None, reason: Reason) -> AttemptStatus:
    seconds = int(look.seconds_since(pod.started_at)) if pod is not None and pod.started_at is not None else row.seconds
    return row.model_copy(update={"reason": reason.value, "seconds": max(0, seconds)})


def _explain_absence(look: Look) -> str:
    return (Reason.SUSPENDED if look.suspended else Reason.INTERRUPTED).value
