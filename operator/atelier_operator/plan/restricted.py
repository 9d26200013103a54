"""Pod Security `restricted`, checked on every pod before it is created.

The namespace's admission would refuse such a pod too, but where that is not switched on nothing would: the check keeps
a mistake of ours from becoming a privileged pod in somebody's namespace. Rules: the Kubernetes documentation of the Pod
Security Standards, profile Restricted, as of 1.34.
"""

from __future__ import annotations

from collections.abc import Iterator

from atelier_operator.model import Json

ALLOWED_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_FORBIDDEN = ("hostNetwork", "hostPID", "hostIPC")


class NotRestricted(AssertionError):
    """A pod that we built breaks Pod Security restricted: our bug, and nothing is created."""


def require_restricted(pod: Json) -> None:
    """Check a pod's spec.

    Raises:
        NotRestricted: names every rule that the pod breaks.
    """
    faults = list(_find_pod_faults(pod))
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            faults.extend(_find_container_faults(container, pod.get("securityContext", {})))
    if faults:
        raise NotRestricted("a pod we built is not restricted: " + "; ".join(faults))


def _find_pod_faults(pod: Json) -> Iterator[str]:
    for field in _FORBIDDEN:
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds or kinds - ALLOWED_VOLUMES:
            yield f"volume {volume.get('name')} is of kind {sorted(kinds)}"


def _find_container_faults(container: Json, pod_context: Json) -> Iterator[str]:
    name, own = container.get("name"), container.get("securityContext", {})
    effective = {**pod_context, **own}
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may escalate privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name} keeps capabilities"
    if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
        yield f"{name} may run as root"
    if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name} has no seccomp profile"
    if effective.get("procMount", "Default") != "Default":
        yield f"{name} has an unmasked /proc"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name} has a host port"
