"""Bodies of a child's Job, ConfigMap, NetworkPolicy and Service: from `Child` to what the API server takes."""

from __future__ import annotations

from atelier_contract import names
from atelier_contract.base import digest_of
from atelier_contract.inputs import ControlFile
from atelier_contract.roles import Role
from atelier_operator.model import CreateJob, Json, Surroundings
from atelier_operator.plan.children import Child
from atelier_operator.plan.failure_policy import TIME_TO_LIVE_SECONDS, render_failure_policy
from atelier_operator.plan.names import name_surroundings
from atelier_operator.plan.pods import build_labels, build_pod_template


def build_child(child: Child, surroundings: Surroundings) -> CreateJob:
    """Return the action that creates a child with all that belongs to it."""
    return CreateJob(
        job=build_job(child),
        config_map=build_config_map(child),
        network_policy=build_network_policy(child, surroundings) if child.trains else None,
        service=build_service(child) if child.nodes > 1 else None,
    )


def build_job(child: Child) -> Json:
    """Return the body of a Job."""
    metadata = _build_metadata(child, child.name)
    spec: Json = {
        **render_failure_policy(),
        "completions": child.nodes,
        "parallelism": child.nodes,
        # Indexed: each pod has a number, and a name by which the others find it.
        **({"completionMode": "Indexed"} if child.nodes > 1 else {}),
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
    """Return the body of the policy that lets the operator alone ask a training pod for its progress.

    Pods that train together also talk to each other, on ports that their libraries choose.
    """
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": surroundings.operator_namespace}},
        "podSelector": {"matchLabels": dict(surroundings.operator_labels)},
    }
    selected = _select_pods(child)
    ingress: list[Json] = [{"from": [operator], "ports": [{"protocol": "TCP", "port": names.PROGRESS_PORT}]}]
    if child.nodes > 1:
        ingress.append({"from": [{"podSelector": {"matchLabels": selected}}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _build_lasting_metadata(child),
        "spec": {"podSelector": {"matchLabels": selected}, "policyTypes": ["Ingress"], "ingress": ingress},
    }


def build_service(child: Child) -> Json:
    """Return the body of the headless Service that gives pods which train together their names."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _build_lasting_metadata(child),
        "spec": {
            "clusterIP": "None",
            "selector": _select_pods(child),
            # They look for each other before any is ready, and none ever says that it is.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "leader", "port": names.LEADER_PORT, "protocol": "TCP"}],
        },
    }


def _select_pods(child: Child) -> dict[str, str]:
    """Return the labels that all training pods of an object carry, and no other pod."""
    labels = build_labels(child)
    return {key: labels[key] for key in (names.LABEL_MANAGED_BY, names.LABEL_OWNER_UID, names.LABEL_ROLE)}


def _build_lasting_metadata(child: Child) -> Json:
    """Return metadata of what serves all rounds of a run, whose inputs may differ: the same as long as its owner is."""
    metadata = _build_metadata(child, name_surroundings(child.owner.name))
    metadata["annotations"] = {names.ANNOTATION_INPUT_DIGEST: digest_of(child.owner.uid)}
    return metadata


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
