"""A pod's status, from what the node knows of its containers. Pure.

The rules are the kubelet's: phases from container states and the restart policy, conditions in its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from atelier_playground.node.client import Object
from atelier_playground.node.container import ContainerState


@dataclass
class PodRecord:
    """What the node knows of a pod.

    Attributes:
        address: the pod's own address; empty until it has one.
        verdict: (reason, message) when the node itself has ended the pod: DeadlineExceeded, Evicted.
        is_over: whether no container will start or restart any more.
    """

    address: str
    host_address: str
    started_at: str
    initial: list[ContainerState]
    containers: list[ContainerState]
    verdict: tuple[str, str] | None = None
    is_over: bool = False
    transitions: dict[str, tuple[str, str]] = field(default_factory=dict)


def build_status(pod: Object, record: PodRecord, moment: str) -> Object:
    """Build the status to report.

    Args:
        pod: the object.
        record: what the node knows; the moments of its conditions' changes are kept in it.
        moment: now; it dates conditions that have changed since the last call.
    """
    phase = _choose_phase(pod["spec"].get("restartPolicy", "Always"), record)
    status: Object = {
        "phase": phase,
        "startTime": record.started_at,
        "hostIP": record.host_address,
        "hostIPs": [{"ip": record.host_address}],
        "podIP": record.address,
        "podIPs": [{"ip": record.address}],
        "qosClass": pod.get("status", {}).get("qosClass"),
        "conditions": _build_conditions(record, phase, moment),
        "containerStatuses": [_build_container(one) for one in record.containers],
    }
    if record.initial:
        status["initContainerStatuses"] = [_build_container(one) for one in record.initial]
    if record.verdict is not None:
        status["reason"], status["message"] = record.verdict
    return status


def _choose_phase(policy: str, record: PodRecord) -> str:
    codes = [one.exit_code for one in record.containers]
    if record.verdict is not None and record.is_over:
        return "Failed"
    if record.is_over or _is_finished(policy, codes):
        return "Succeeded" if all(code == 0 for code in codes) else "Failed"
    failed_at_start = any(one.exit_code not in (None, 0) for one in record.initial)
    if failed_at_start and policy == "Never":
        return "Failed"
    has_begun = any(one.is_running or one.exit_code is not None or one.last for one in record.containers)
    return "Running" if has_begun else "Pending"


def _is_finished(policy: str, codes: Sequence[int | None]) -> bool:
    if policy == "Always" or any(code is None for code in codes):
        return False
    return policy == "Never" or all(code == 0 for code in codes)


def _build_conditions(record: PodRecord, phase: str, moment: str) -> list[Object]:
    is_finished = phase in {"Succeeded", "Failed"}
    is_ready = bool(record.containers) and all(one.is_ready for one in record.containers) and not is_finished
    why = {} if is_ready else _explain_unready(record, phase)
    is_initialized = phase == "Succeeded" or all(one.exit_code == 0 for one in record.initial)
    has_sandbox = not is_finished and any(one.is_running for one in [*record.initial, *record.containers])
    facts: list[tuple[str, bool, Object]] = [
        ("PodReadyToStartContainers", has_sandbox, {}),
        ("Initialized", is_initialized, {} if is_initialized else {"reason": "ContainersNotInitialized"}),
        ("Ready", is_ready, why),
        ("ContainersReady", is_ready, why),
        ("PodScheduled", True, {}),
    ]
    return [_build_condition(record, kind, "True" if holds else "False", moment, extra) for kind, holds, extra in facts]


def _explain_unready(record: PodRecord, phase: str) -> Object:
    if phase in {"Succeeded", "Failed"}:
        return {"reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
    unready = " ".join(one.name for one in record.containers if not one.is_ready)
    return {"reason": "ContainersNotReady", "message": f"containers with unready status: [{unready}]"}


def _build_condition(record: PodRecord, kind: str, value: str, moment: str, extra: Object) -> Object:
    if record.transitions.get(kind, ("", ""))[0] != value:
        record.transitions[kind] = (value, moment)
    # Explicit nulls: a strategic merge would keep the reason of an earlier state.
    blank = {"reason": None, "message": None}
    return {
        "type": kind,
        "status": value,
        "lastTransitionTime": record.transitions[kind][1],
        **blank,
        **extra,
    }


def _build_container(one: ContainerState) -> Object:
    status: Object = {
        "name": one.name,
        "image": one.image,
        "imageID": one.image if one.identity else "",
        "restartCount": one.restarts,
        "ready": one.is_ready,
        "started": one.is_started and one.is_running,
        "state": one.state,
        "lastState": one.last,
    }
    if one.identity:
        status["containerID"] = one.identity
    return status
