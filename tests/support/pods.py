"""Builders of pods for tests: each returns a whole object that satisfies Pod Security `restricted`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atelier_playground.api import Api, wait_for
from cluster import SHELL_IMAGE

Object = dict[str, Any]

RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def build_pod(
    name: str,
    script: str,
    image: str = SHELL_IMAGE,
    container: Mapping[str, Any] | None = None,
    volumes: Sequence[Object] = (),
    **spec: Any,
) -> Object:
    """Build a pod that runs a shell script once.

    Args:
        name: the pod's name.
        script: what /bin/sh runs.
        image: the container's image.
        container: more fields of the container.
        volumes: the pod's volumes.
        spec: more fields of the pod's spec; they win over the defaults here.
    """
    main = {
        "name": "main",
        "image": image,
        "command": ["/bin/sh", "-c", script],
        "securityContext": RESTRICTED,
        **(container or {}),
    }
    defaults: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [main],
        "volumes": list(volumes),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**defaults, **spec}}


def read_pod(api: Api, namespace: str, name: str) -> Object:
    """Read a pod as it is now."""
    return api.get("v1", "Pod", name, namespace)


def wait_for_phase(api: Api, namespace: str, name: str, *phases: str, timeout_seconds: float = 60) -> Object:
    """Wait until a pod is in one of the phases, and return it."""

    def reach() -> Object | None:
        pod = read_pod(api, namespace, name)
        return pod if pod["status"]["phase"] in phases else None

    found: Object = wait_for(
        reach, f"pod {name} is {' or '.join(phases)}", timeout_seconds, lambda: read_pod(api, namespace, name)["status"]
    )
    return found


def read_termination(pod: Object) -> Object:
    """The `terminated` state of a pod's first container."""
    terminated: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return terminated


def read_waiting_reason(pod: Object) -> str | None:
    """Why a pod's first container waits; None when it does not."""
    for status in pod["status"].get("containerStatuses") or ():
        reason: str | None = status["state"].get("waiting", {}).get("reason")
        return reason
    return None
