"""Pod templates: one container of the trainer image, restricted by construction and checked once more.

In goes a `Child`, out comes the template of its Job. The pod has no cluster rights (no token), no service links in its
environment, no probes (a slow step is not a dead process), and only our labels.
"""

from __future__ import annotations

from typing import Any

from atelier_contract import defaults, names
from atelier_operator.model import Json
from atelier_operator.plan import restricted
from atelier_operator.plan.children import Child, Needs
from atelier_operator.plan.names import name_surroundings
from atelier_operator.plan.volumes import build_volumes


def build_labels(child: Child) -> dict[str, str]:
    """Return the labels of a child and its pods."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_KIND: child.owner.kind,
        names.LABEL_OWNER: child.owner.name,
        names.LABEL_OWNER_UID: child.owner.uid,
        names.LABEL_ROLE: child.role.value,
    }


def build_pod_template(child: Child) -> Json:
    """Return the pod template of a child's Job.

    Raises:
        NotRestricted: what was built breaks Pod Security restricted: our bug.
    """
    volumes, mounts = build_volumes(child)
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": child.grace_seconds,
        "securityContext": _build_pod_security(),
        "containers": [_build_container(child, mounts)],
        "volumes": volumes,
        **_build_placement(child),
    }
    if child.nodes > 1:
        spec["subdomain"] = name_surroundings(child.owner.name)
    if not child.trains:
        # On the pod, not on the Job: a Job's deadline also counts the time that its pod waits for a node.
        spec["activeDeadlineSeconds"] = defaults.SHORT_JOB_DEADLINE_SECONDS
    restricted.require_restricted(spec)
    annotations = {"sidecar.istio.io/inject": "false"}  # a sidecar outlives the trainer, and the Job never ends
    return {"metadata": {"labels": build_labels(child), "annotations": annotations}, "spec": spec}


def _build_pod_security() -> Json:
    return {
        "runAsNonRoot": True,
        "runAsUser": names.TRAINER_UID,
        "runAsGroup": names.TRAINER_UID,
        "fsGroup": names.TRAINER_UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _build_container(child: Child, mounts: list[Json]) -> Json:
    container: Json = {
        "name": names.CONTAINER,
        "image": child.image,
        "imagePullPolicy": child.pull_policy,
        "args": [child.role.value],
        "env": [
            _from_pod(names.ENV_POD_IP, "status.podIP"),
            _from_pod(names.ENV_POD_UID, "metadata.uid"),
            _from_container(names.ENV_EPHEMERAL_BYTES, "limits.ephemeral-storage"),
            *_build_crew_environment(child),
        ],
        "resources": _build_resources(child.needs),
        "terminationMessagePath": names.TERMINATION_PATH,
        "terminationMessagePolicy": "File",  # never logs: they may hold captions
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if child.trains:
        container["ports"] = [{"name": "progress", "containerPort": names.PROGRESS_PORT, "protocol": "TCP"}]
    return container


def _build_crew_environment(child: Child) -> list[Json]:
    """Return what a pod needs to know to be several processes, or one of several pods; its index Kubernetes adds."""
    told: dict[str, object] = {}
    if child.trains and child.needs.gpus > 1:
        told[names.ENV_PROCESSES] = child.needs.gpus
    if child.nodes > 1:
        told[names.ENV_NODES] = child.nodes
        # The pod of index 0 has this host name; the Service makes it known in the namespace.
        told[names.ENV_LEADER_ADDRESS] = f"{child.name}-0.{name_surroundings(child.owner.name)}"
        told[names.ENV_LEADER_PORT] = names.LEADER_PORT
    return [{"name": name, "value": str(value)} for name, value in told.items()]


def _from_pod(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _from_container(name: str, resource: str) -> Json:
    """Return a resource of the container itself as a plain number, here bytes."""
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}}


def _build_resources(needs: Needs) -> Json:
    gpus = {needs.gpu_resource: str(needs.gpus)} if needs.gpus else {}
    requests = {"cpu": needs.cpu, "memory": needs.memory, "ephemeral-storage": needs.ephemeral_storage, **gpus}
    # No limit on the processor: throttling a loader starves a GPU. Namespaces that demand one have a LimitRange.
    limits = {"memory": needs.memory, "ephemeral-storage": needs.ephemeral_storage, **gpus}
    return {"requests": requests, "limits": limits}


def _build_placement(child: Child) -> Json:
    """Return account and pull secrets, and for a training pod also where it may run."""
    asked = child.pod
    placement: dict[str, Any] = {
        "serviceAccountName": asked.service_account_name,
        "imagePullSecrets": [{"name": ref.name} for ref in asked.image_pull_secrets or ()],
    }
    if child.trains:
        placement |= {
            "nodeSelector": asked.node_selector,
            "tolerations": [toleration.as_json() for toleration in asked.tolerations or ()],
            "priorityClassName": asked.priority_class_name,
            "runtimeClassName": asked.runtime_class_name,
        }
    return {key: value for key, value in placement.items() if value}
