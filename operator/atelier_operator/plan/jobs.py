"""Bodies of a child's Job, ConfigMap and NetworkPolicy: from `Child` to what the API server takes."""

from __future__ import annotations

from atelier_contract import names
from atelier_contract.base import digest_of
from atelier_contract.inputs import ControlFile
from atelier_contract.roles import Role
from atelier_operator.model import CreateJob, Json, Surroundings
from atelier_operator.plan.children import Child
from atelier_operator.plan.failure_policy import TIME_TO_LIVE_SECONDS, render_failure_policy
from atelier_operator.plan.names import name_network_policy
from atelier_operator.plan.pods import build_labels, build_pod_template


def build_child(child: Child, surroundings: Surroundings) -> CreateJob:
    """Return the action that creates a child with all that belongs to it."""
    return CreateJob(
        job=build_job(child),
        config_map=build_config_map(child),
        network_policy=build_network_policy(child, surroundings) if child.trains else None,
    )


def build_job(child: Child) -> Json:
    """Return the body of a Job."""
    metadata = _build_metadata(child, child.name)
    spec: Json = {
        **render_failure_policy(),
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": TIME_TO_LIVE_SECONDS,
        "template": build_pod_template(child),
    }
    if child.queue_name:
        metadata["labels"][names.LABEL_QUEUE_NAME] = child.queue_name
        spec["suspend"] = True  # the queue admits it; from here on this field is the queue's
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def build_config_map(child: Child) -> Json:
    """Return the body of the ConfigMap that holds a child's input and, in training, its control file."""
    data = {names.INPUT_FILE: child.document.to_bytes().decode()}
    if child.role is Role.TRAIN:
        data[names.CONTROL_FILE] = (child.control or ControlFile()).to_bytes().decode()
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _build_metadata(child, child.name), "data": data}


def build_network_policy(child: Child, surroundings: Surroundings) -> Json:
    """Return the body of the policy that lets the operator alone ask a training pod for its progress."""
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": surroundings.operator_namespace}},
        "podSelector": {"matchLabels": dict(surroundings.operator_labels)},
    }
    labels = build_labels(child)
    metadata = _build_metadata(child, name_network_policy(child.owner.name))
    # One policy serves all rounds of a run, whose inputs may differ: it is the same as long as the owner is.
    metadata["annotations"] = {names.ANNOTATION_INPUT_DIGEST: digest_of(child.owner.uid)}
    selected = {key: labels[key] for key in (names.LABEL_MANAGED_BY, names.LABEL_OWNER_UID, names.LABEL_ROLE)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": selected},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [operator], "ports": [{"protocol": "TCP", "port": names.PROGRESS_PORT}]}],
        },
    }


def _build_metadata(child: Child, name: str) -> Json:
    metadata: Json = {
        "name": name,
        "namespace": child.owner.namespace,
        "labels": build_labels(child),
        "annotations": {names.ANNOTATION_INPUT_DIGEST: digest_of(child.document.as_json())},
    }
    if child.owned:
        reference = {
            "apiVersion": names.API_VERSION,
            "kind": child.owner.kind,
            "name": child.owner.name,
            "uid": child.owner.uid,
            "controller": True,
            # With true, a foreground deletion of the owner would wait for children and kill them first.
            "blockOwnerDeletion": False,
        }
        metadata["ownerReferences"] = [reference]
    return metadata
