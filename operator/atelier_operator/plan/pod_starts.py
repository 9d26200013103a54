"""Pods that do not run yet: why, and whether they have had long enough. A pod that has a node holds its GPU already."""

from __future__ import annotations

from atelier_contract import defaults
from atelier_operator.model import ObservedJob, ObservedPod
from atelier_operator.plan.look import Look, is_active


def explain_waiting(pod: ObservedPod) -> str:
    """Return why a pod does not run yet.

    The scheduler's own words change with every pod that comes and goes in the cluster; repeating them here would be a
    status write each time.
    """
    if pod.scheduled_at is None:
        why = f" ({pod.waiting_reason})" if pod.waiting_reason else ""
        return f"pod {pod.name} waits for a node{why}: `kubectl describe pod {pod.name}` says what is missing"
    why = f": {pod.waiting_reason} {pod.waiting_message}".rstrip() if pod.waiting_reason else ""
    return f"pod {pod.name} starts on {pod.node}{why}"


def find_start_problem(look: Look, job: ObservedJob) -> tuple[str, float | None]:
    """Return why a Job's pod will not start, or else the seconds until that is decided.

    Counted from the moment the pod has a node, and with it a GPU: waiting for a node costs nothing.
    """
    asked = look.spec.pod.start_deadline_seconds if look.spec.pod else None
    allowed = asked or defaults.START_DEADLINE_SECONDS
    starting = [pod for pod in job.pods if is_active(pod) and pod.started_at is None and pod.deleted_at is None]
    waits = [(allowed - look.seconds_since(pod.scheduled_at), pod) for pod in starting if pod.scheduled_at is not None]
    if not waits:
        return "", None
    left, pod = min(waits, key=lambda wait: wait[0])
    if left > 0:
        return "", left
    why = f"{pod.waiting_reason or 'no reason given'} {pod.waiting_message}".rstrip()
    return f"pod {pod.name} did not start within {allowed} s after it was scheduled: {why}", None
