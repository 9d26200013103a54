"""What the operator keeps of each object it has seen, as small as decisions allow.

A user's object stays JSON text (a fraction of its size as dictionaries), without what nobody reads; a Job or pod is
reduced to the few facts that decisions need. Pure values: which of them is current is the cache's business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from atelier_contract.roles import Role
from atelier_operator import readings
from atelier_operator.model import Json, Key, ObservedJob, ObservedPod

_KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "annotations",
    "finalizers",
    "deletionTimestamp",
    "creationTimestamp",
)
_KUBECTL_COPY = "kubectl.kubernetes.io/last-applied-configuration"
"""Holds the whole object a second time; nobody here reads it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of the user's."""

    uid: str
    version: str
    text: bytes
    datasets: tuple[str, ...]
    """Names of the datasets that a TrainingJob names: the one it learns from, and that of its prior pictures."""
    template: str
    """Name of the template that it names; empty: none."""
    ended: bool
    """The run is over: what happens to its datasets and template no longer concerns it."""


@dataclass(frozen=True, slots=True)
class Child:
    """A Job or pod."""

    version: str
    key: Key
    seen: ObservedJob | ObservedPod
    owner_uid: str
    role: Role | None
    watched: bool
    """It carries our label, so events tell of it."""


def build_child(key: Key, seen: ObservedJob | ObservedPod, metadata: Json) -> Child:
    """Return what is kept of a Job or pod that serves an object."""
    owner_uid, role = readings.read_owner_uid(metadata), readings.read_role(metadata)
    watched = readings.read_key(metadata) is not None
    return Child(metadata["resourceVersion"], key, seen, owner_uid, role, watched)


def store(body: Json) -> Stored:
    """Return what is kept of an object of the user's."""
    metadata = {name: body["metadata"][name] for name in _KEPT_METADATA if name in body["metadata"]}
    if _KUBECTL_COPY in metadata.get("annotations", {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _KUBECTL_COPY}
    spec, status = body.get("spec") or {}, body.get("status") or {}
    text = json.dumps({"metadata": metadata, "spec": spec, "status": status}, separators=(",", ":"))
    return Stored(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        text=text.encode(),
        datasets=tuple(filter(None, (_read_reference(spec, "datasetRef"), _read_prior_reference(spec)))),
        template=_read_reference(spec, "templateRef"),
        ended=bool(status.get("completionTime")),
    )


def _read_reference(spec: Json, field: str) -> str:
    reference = spec.get(field)
    return str(reference.get("name", "")) if isinstance(reference, dict) else ""


def _read_prior_reference(spec: Json) -> str:
    """Return the name of the prior dataset. The spec was not validated here: any part may be of any shape."""
    for field in ("conceptModel", "priorPreservation"):
        inner = spec.get(field)
        spec = inner if isinstance(inner, dict) else {}
    return _read_reference(spec, "datasetRef")


def load(stored: Stored | None) -> Json | None:
    """Return a kept object as JSON; None for none."""
    if stored is None:
        return None
    body: Json = json.loads(stored.text)
    return body
