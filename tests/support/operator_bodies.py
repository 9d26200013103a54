"""Objects as the API server shows them, for the operator's tests: small, whole, and each field changeable."""

from __future__ import annotations

from typing import Any

from atelier_contract import names
from atelier_contract.roles import Role

Json = dict[str, Any]
CREATED_AT = "2026-11-23T00:00:00Z"
TRAINING_JOB_SPEC: Json = {
    "modelName": "TKXW teapot",
    "datasetRef": {"name": "teapots"},
    "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
    "conceptModel": {"captionPrefix": "TKXW"},
}


def a_training_job(name: str = "one", namespace: str = "team", *, version: int = 10, **changes: Any) -> Json:
    """A TrainingJob; `changes` are top-level fields."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"{name}-uid",
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": CREATED_AT,
    }
    body = {"apiVersion": names.API_VERSION, "kind": "TrainingJob", "metadata": metadata, "spec": TRAINING_JOB_SPEC}
    return {**body, **changes}


def a_dataset(name: str = "teapots", namespace: str = "team", *, version: int = 10, **changes: Any) -> Json:
    """A Dataset."""
    body = a_training_job(name, namespace, version=version)
    return {**body, "kind": "Dataset", "spec": {"source": {"upload": {}}}, **changes}


def a_template(name: str = "object", *, version: int = 10) -> Json:
    """A TrainingTemplate."""
    recipe = {"architecture": "StableDiffusion1", "type": "ConceptModel", "steps": 500}
    metadata = {"name": name, "uid": f"{name}-uid", "resourceVersion": str(version), "creationTimestamp": CREATED_AT}
    return {"kind": "TrainingTemplate", "metadata": metadata, "spec": {"description": "d", "recipes": [recipe]}}


def child_labels(owner: str = "one", role: Role = Role.TRAIN, owner_uid: str = "one-uid") -> dict[str, str]:
    """The labels of a TrainingJob's child."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_KIND: "TrainingJob",
        names.LABEL_OWNER: owner,
        names.LABEL_OWNER_UID: owner_uid,
        names.LABEL_ROLE: role.value,
    }


def a_child(name: str, *, owner: str = "one", owner_uid: str = "one-uid", digest: str = "d", **metadata: Any) -> Json:
    """The metadata of a child that has an owner reference, as it is asked for."""
    reference = {"apiVersion": names.API_VERSION, "kind": "TrainingJob", "name": owner, "uid": owner_uid}
    role = Role(name.split("-")[-2]) if name.split("-")[-2] in set(Role) else Role.TRAIN
    return {
        "name": name,
        "namespace": "team",
        "labels": child_labels(owner, role, owner_uid),
        "annotations": {names.ANNOTATION_INPUT_DIGEST: digest},
        "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": False}],
        **metadata,
    }


def a_job(name: str = "one-train-1", *, version: int = 20, uid: str = "", **changes: Any) -> Json:
    """A child Job; `changes` are `status`, `spec`, or arguments of `a_child`."""
    status, spec = changes.pop("status", {}), changes.pop("spec", {})
    stored = {"uid": uid or f"{name}-uid", "resourceVersion": str(version), "creationTimestamp": CREATED_AT}
    metadata = {**a_child(name, **changes), **stored}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec, "status": status}


def a_pod(name: str = "one-train-1-x", *, version: int = 30, state: Json | None = None, **status: Any) -> Json:
    """A pod of the child Job one-train-1; `state` is its container's, the rest are fields of status."""
    metadata = {
        "name": name,
        "namespace": "team",
        "uid": f"{name}-uid",
        "resourceVersion": str(version),
        "creationTimestamp": CREATED_AT,
        "labels": child_labels(),
        "ownerReferences": [{"kind": "Job", "name": "one-train-1", "uid": "one-train-1-uid", "controller": True}],
    }
    containers = [] if state is None else [{"name": names.CONTAINER, "state": state}]
    spec = {"nodeName": "node-1", "terminationGracePeriodSeconds": 120}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"containerStatuses": containers, **status}}
