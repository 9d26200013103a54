"""Reads the API server's JSON into what decisions are made from. Pure: no call, no clock, no cache.

Tolerant where other programs write (pods, Jobs): what is missing or malformed reads as absent. Strict where a person
writes (specs): what is wrong comes out as a sentence that names the field and never repeats its value, because values
may be captions or prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from atelier_contract import names
from atelier_contract.base import Report, Spec
from atelier_contract.dataset import KIND as DATASET
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_contract.training_job import KIND as TRAINING_JOB
from atelier_operator.errors import Unreadable
from atelier_operator.model import Json, Key, Meta, ObservedJob, ObservedPod

_SpecT = TypeVar("_SpecT", bound=Spec)
_ReportT = TypeVar("_ReportT", bound=Report)
_PROBLEM_LENGTH = 900
_DEFAULT_GRACE_SECONDS = 30


def read_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time, aware; None for nothing or nonsense."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def read_meta(metadata: Json) -> Meta:
    """Return the part of an object's metadata that decisions need."""
    created_at = read_time(metadata["creationTimestamp"])
    if created_at is None:
        raise Unreadable(f"creationTimestamp of {metadata.get('name')} is not a time")
    return Meta(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        annotations=dict(metadata.get("annotations") or {}),
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleted_at=read_time(metadata.get("deletionTimestamp")),
        created_at=created_at,
    )


def read_key(metadata: Json) -> Key | None:
    """Return which object a child serves, by its labels; None: not one of ours."""
    labels = metadata.get("labels") or {}
    name = labels.get(names.LABEL_OWNER)
    if labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY or not name:
        return None
    match labels.get(names.LABEL_KIND):
        case "Dataset":
            return Key(DATASET, metadata.get("namespace", ""), name)
        case "TrainingJob":
            return Key(TRAINING_JOB, metadata.get("namespace", ""), name)
    return None


def read_owner_uid(metadata: Json) -> str:
    """Return the UID of the object a child serves.

    An owner reference says it best: the API server's garbage collector goes by it. Pods, and the collect Job of a
    deletion, have none to the object; their label says whom they serve.
    """
    kinds = (DATASET, TRAINING_JOB)
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("kind") in kinds and reference.get("apiVersion", "").startswith(f"{names.GROUP}/"):
            return str(reference.get("uid", ""))
    return str((metadata.get("labels") or {}).get(names.LABEL_OWNER_UID, ""))


def read_role(metadata: Json) -> Role | None:
    """Return which subcommand a child runs, by its label; None: not one of ours."""
    text = (metadata.get("labels") or {}).get(names.LABEL_ROLE)
    return Role(text) if text in set(Role) else None


def read_job(body: Json) -> ObservedJob:
    """Return a Job, without its pods."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    conditions = _true_conditions(status)
    failed = conditions.get("Failed")
    created_at = read_meta(metadata).created_at
    return ObservedJob(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=read_owner_uid(metadata),
        role=read_role(metadata),
        input_digest=(metadata.get("annotations") or {}).get(names.ANNOTATION_INPUT_DIGEST, ""),
        created_at=created_at,
        deleted_at=read_time(metadata.get("deletionTimestamp")),
        suspended=bool(spec.get("suspend")),
        complete="Complete" in conditions,
        failed=failed is not None,
        failure_reason=(failed or {}).get("reason", ""),
        failure_message=(failed or {}).get("message", ""),
    )


def read_pod(body: Json) -> ObservedPod:
    """Return a pod, with its last words if it said any. Whether its node is ready is not known here."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    state = _read_container_state(status)
    running, ended, waiting = (state.get(word) or {} for word in ("running", "terminated", "waiting"))
    scheduled = _find_condition(status, "PodScheduled")
    unscheduled = scheduled if scheduled.get("status") == "False" else {}
    grace = metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    return ObservedPod(
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=_read_controller_uid(metadata),
        phase=status.get("phase", ""),
        node=spec.get("nodeName", ""),
        node_ready=None,
        ip=status.get("podIP", ""),
        created_at=read_meta(metadata).created_at,
        scheduled_at=read_time(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        started_at=read_time(running.get("startedAt") or ended.get("startedAt")),
        finished_at=read_time(ended.get("finishedAt")),
        deleted_at=read_time(metadata.get("deletionTimestamp")),
        grace_seconds=_DEFAULT_GRACE_SECONDS if grace is None else int(grace),
        exit_code=ended.get("exitCode"),
        oom_killed=ended.get("reason") == "OOMKilled",
        disrupted="DisruptionTarget" in _true_conditions(status),
        waiting_reason=waiting.get("reason") or unscheduled.get("reason", ""),
        waiting_message=waiting.get("message") or unscheduled.get("message", ""),
        report=read_last_words(ended.get("message")),
        index=_read_index(metadata),
    )


def read_last_words(message: str | None) -> TerminationReport | None:
    """Return a termination message; None for none, or for one that this release cannot read."""
    if not message:
        return None
    try:
        return TerminationReport.from_bytes(message.encode())
    except ValidationError:
        return None


def read_spec(kind: type[_SpecT], body: Json) -> tuple[_SpecT | None, str]:
    """Return a spec and no problem, or no spec and what is wrong with it."""
    try:
        return kind.model_validate(body.get("spec") or {}), ""
    except ValidationError as error:
        return None, describe("spec", error)


def read_status(kind: type[_ReportT], body: Json) -> _ReportT:
    """Return a status that this operator, or an earlier release of it, wrote.

    Raises:
        Unreadable: it is of another shape. Going on from an empty status would train anew, so nothing is done.
    """
    try:
        return kind.model_validate(body.get("status") or {})
    except ValidationError as error:
        name = body["metadata"]["name"]
        raise Unreadable(f"the status of {name} is not of this release's shape: {describe('status', error)}") from error


def describe(root: str, error: ValidationError) -> str:
    """Return which fields below a root are wrong and how, without their values."""
    faults = [f"{'.'.join((root, *(str(part) for part in fault['loc'])))}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults)[:_PROBLEM_LENGTH]


def _read_controller_uid(metadata: Json) -> str:
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") == "Job":
            return str(reference.get("uid", ""))
    return ""


def _read_index(metadata: Json) -> int:
    text = (metadata.get("annotations") or {}).get(names.ANNOTATION_COMPLETION_INDEX, "")
    return int(text) if text.isdecimal() else 0


def _read_container_state(status: Json) -> Json:
    """Return the state of our container: a sidecar that others inject is not asked."""
    containers: Iterable[Json] = status.get("containerStatuses") or ()
    for container in containers:
        if container.get("name") == names.CONTAINER:
            state: Json = container.get("state") or {}
            return state
    return {}


def _find_condition(status: Json, name: str) -> Json:
    for condition in status.get("conditions") or ():
        if condition.get("type") == name:
            found: Json = condition
            return found
    return {}


def _true_conditions(status: Json) -> dict[str, Json]:
    return {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
