"""Inspections of a Dataset: what one is asked for, what it found, and what follows from that for training.

An inspection has a number. What it looks at (the spec's digest, the annotation's value) is on record from the moment it
is asked for, so that a change made meanwhile asks for the next one.
"""

from __future__ import annotations

from datetime import datetime

from atelier_contract import names
from atelier_contract.base import digest_of
from atelier_contract.dataset import KIND, DatasetSpec, DatasetStatus, FindingStatus, ModelType
from atelier_contract.roles import Role
from atelier_contract.termination import InspectionResult
from atelier_operator.model import CreateJob, DatasetView, ObservedJob
from atelier_operator.plan import instants
from atelier_operator.plan.children import Child, Owner
from atelier_operator.plan.failures import find_ended_pods
from atelier_operator.plan.inputs import build_inspect_input
from atelier_operator.plan.jobs import build_child
from atelier_operator.plan.names import name_ordinal

_ANNOTATION_LENGTH = 64


def read_request(view: DatasetView) -> str:
    """Return the value of the annotation that asks for another look; empty: none asks."""
    return view.meta.annotations.get(names.ANNOTATION_INSPECT_REQUESTED_AT, "")[:_ANNOTATION_LENGTH]


def digest_source(spec: DatasetSpec) -> str:
    """Return the digest of what an inspection looks at: the description is for people."""
    return digest_of({key: value for key, value in spec.as_json().items() if key != "description"})


def is_due(view: DatasetView, spec: DatasetSpec) -> bool:
    """Return whether something has changed since the last inspection was asked for, or none ever was."""
    request = read_request(view)
    if not view.status.attempts or view.status.inspected_spec_digest != digest_source(spec):
        return True
    return bool(request) and request != view.status.last_handled_inspect_at


def ask_inspection(view: DatasetView, spec: DatasetSpec) -> DatasetStatus:
    """Return the status with the next inspection on record."""
    update: dict[str, object] = {
        "attempts": (view.status.attempts or 0) + 1,
        "inspected_spec_digest": digest_source(spec),
    }
    if read_request(view):
        update["last_handled_inspect_at"] = read_request(view)
    return view.status.model_copy(update=update)


def name_inspection(view: DatasetView, status: DatasetStatus) -> str:
    """Return the name of the last inspection's Job."""
    return name_ordinal(view.meta.name, Role.INSPECT, status.attempts or 0)


def build_inspection(view: DatasetView, spec: DatasetSpec, name: str) -> CreateJob:
    """Return the action that starts an inspection."""
    child = Child(
        owner=Owner(KIND, view.meta.namespace, view.meta.name, view.meta.uid),
        name=name,
        role=Role.INSPECT,
        image=view.surroundings.trainer_image,
        pull_policy=view.surroundings.image_pull_policy,
        document=build_inspect_input(view, spec),
        storage=spec.storage,
        dataset=spec.source,
    )
    return build_child(child, view.surroundings)


def take_result(status: DatasetStatus, result: InspectionResult, ended_at: datetime) -> DatasetStatus:
    """Return the status with what an inspection found.

    A dataset without one usable picture keeps its last revision: runs that are pinned to it still name it.
    """
    update: dict[str, object] = {
        "items": result.items,
        "captioned": result.captioned,
        "pictures_per_pass": result.pictures_per_pass,
        "bytes": result.bytes,
        "usable_for": find_uses(result),
        "resolution": result.resolution,
        "findings": result.findings,
        "failures": None,
        "inspected_at": instants.format_time(ended_at),
    }
    if result.items and result.revision:
        update |= {"revision": result.revision, "report_key": result.report_key}
    return status.model_copy(update=update)


def find_uses(result: InspectionResult) -> list[ModelType]:
    """Return what the pictures can be used for: captions on all of them serve both types, none or some only one."""
    if not result.items:
        return []
    return ["ConceptModel", "Embedding"] if result.captioned >= result.items else ["Embedding"]


def explain_result(result: InspectionResult) -> str:
    """Return one sentence on a dataset: how much of it is usable, and the gravest finding with its fix."""
    count = f"{result.items} usable pictures, {result.captioned} with a caption"
    worst = next((finding for finding in result.findings if finding.severity == "Error"), None)
    worst = worst or next((finding for finding in result.findings if finding.severity == "Warning"), None)
    return f"{count}; {explain_finding(worst)}" if worst else count


def explain_finding(finding: FindingStatus) -> str:
    """Return a finding as words: what, how often, where for example, and what to do."""
    example = f", for example {finding.example}" if finding.example else ""
    fix = f": {finding.fix}" if finding.fix else ""
    return f"{finding.reason} ({finding.count}{example}){fix}"


def find_end(job: ObservedJob) -> datetime | None:
    """Return when a Job's newest ended pod ended."""
    return next((pod.finished_at for pod in find_ended_pods(job) if pod.finished_at is not None), None)
