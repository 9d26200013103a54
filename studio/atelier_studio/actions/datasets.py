"""Datasets as objects: what a push creates or changes, when an inspection is over, and how its findings are told.

In come documents of the cluster, out go documents, rows and sentences. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from atelier_contract import names
from atelier_contract.dataset import KIND, DatasetLayout, DatasetSpec, DatasetStatus
from atelier_contract.reasons import Condition
from atelier_contract.references import StorageSpec
from atelier_materials.dataset.naming import escape_name
from atelier_studio.actions.tables import Object, format_size, is_current, read_dataset_status, read_state
from atelier_studio.errors import BadRequest, StudioError

DATASET_COLUMNS = ("NAME", "STATE", "PICTURES", "CAPTIONED", "SIZE", "USABLE", "FINDINGS")
WIDE_DATASET_COLUMNS = (*DATASET_COLUMNS, "SOURCE", "REVISION", "MESSAGE")
FINDING_COLUMNS = ("SEVERITY", "COUNT", "FINDING", "EXAMPLE", "WHAT TO DO")


def build_spec(description: str | None, layout: DatasetLayout | None) -> Object:
    """Return the part of a spec that a push may set; what is not told stays as it is."""
    told: Object = {"description": description} if description else {}
    return {**told, "layout": str(layout)} if layout else told


def build_dataset(name: str, told: Object) -> Object:
    """Return a Dataset whose items are pushed."""
    spec = {**told, "source": {"upload": {}}}
    return {"apiVersion": names.API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def build_request(told: Object, now: datetime) -> Object:
    """Return the patch that asks for another look at a Dataset, and perhaps changes what is told of it."""
    asked_at = now.astimezone(UTC).isoformat(timespec="microseconds")
    patch: Object = {"metadata": {"annotations": {names.ANNOTATION_INSPECT_REQUESTED_AT: asked_at}}}
    return {**patch, "spec": told} if told else patch


def is_asked_since(body: Object, pushed_at: str) -> bool:
    """Return whether a look was asked for after a push: whoever pushed may have been killed in between."""
    metadata = body["metadata"]
    asked = metadata.get("annotations", {}).get(names.ANNOTATION_INSPECT_REQUESTED_AT)
    try:
        asked_at = datetime.fromisoformat(asked or metadata["creationTimestamp"])
        return asked_at >= datetime.fromisoformat(pushed_at)
    except (KeyError, ValueError, TypeError):  # a person may have written anything there
        return False


def read_storage(body: Object) -> StorageSpec | None:
    """Return where a Dataset keeps what is pushed to it.

    Raises:
        BadRequest: nothing is pushed to it: its pictures lie elsewhere.
        StudioError: a newer release wrote it.
    """
    spec = read_spec(body)
    if spec.source.upload is None:
        raise BadRequest(
            f"the pictures of Dataset {body['metadata']['name']} lie in {_name_source(spec)}, nothing is pushed to it: "
            "add them there, or choose another name with --name"
        )
    return spec.storage


def is_inspected(body: Object) -> bool:
    """Return whether the cluster has looked at everything that was asked of it, with whatever result."""
    status = read_dataset_status(body)
    asked = body["metadata"].get("annotations", {}).get(names.ANNOTATION_INSPECT_REQUESTED_AT)
    if not is_current(body, status) or (asked and asked != status.last_handled_inspect_at):
        return False
    return not is_true(status, Condition.RECONCILING)


def is_true(status: DatasetStatus, condition: Condition) -> bool:
    """Return whether a condition holds."""
    return any(told.type == condition and told.status == "True" for told in status.conditions)


def build_dataset_row(body: Object, *, wide: bool = False) -> tuple[str, ...]:
    """Return the row of one Dataset, by `DATASET_COLUMNS` or `WIDE_DATASET_COLUMNS`."""
    status = read_dataset_status(body)
    state, message = read_state(status)
    row = (
        body["metadata"]["name"],
        state,
        _count(status.items),
        _count(status.captioned),
        "-" if status.bytes is None else format_size(status.bytes),
        ", ".join(status.usable_for or ()) or "-",
        _count(sum(finding.count for finding in status.findings or ()) if status.findings is not None else None),
    )
    return (*row, _name_source(read_spec(body)), (status.revision or "-")[:12], message) if wide else row


def build_finding_rows(status: DatasetStatus) -> list[tuple[str, ...]]:
    """Return the rows of a Dataset's findings, gravest first, by `FINDING_COLUMNS`."""
    return [
        (finding.severity, str(finding.count), finding.reason, escape_name(finding.example), finding.fix)
        for finding in status.findings or ()
    ]


def describe_dataset(body: Object) -> str:
    """Return what the cluster says of a Dataset, as one sentence."""
    status = read_dataset_status(body)
    state, message = read_state(status)
    uses = ", ".join(status.usable_for or ()) or "nothing yet"
    return f"Dataset {body['metadata']['name']}: {state}, usable for {uses}: {message}"


def read_spec(body: Object) -> DatasetSpec:
    """Return a Dataset's typed spec. Raises StudioError where a newer release wrote it."""
    try:
        return DatasetSpec.model_validate(body["spec"])
    except ValueError as error:
        raise StudioError(
            f"spec of Dataset {body['metadata']['name']} is not as this release knows it: use the release of "
            "`kubectl atelier` that belongs to the cluster's Atelier"
        ) from error


def find_report(body: Object, room: str, suffix: str) -> str:
    """Return the key of the last inspection's report.

    Args:
        body: the Dataset.
        room: the dataset's own part of the store, outside of which nothing is read.
        suffix: `.json` or `.html`.

    Raises:
        BadRequest: there is none (yet).
    """
    key = read_dataset_status(body).report_key or ""
    stem, dot, kind = key.rpartition(".")
    if not dot or kind != "json" or not key.startswith(f"{room}/reports/"):
        raise BadRequest(
            f"Dataset {body['metadata']['name']} has no report: {read_state(read_dataset_status(body))[1]}",
            "docs/how-to/push-a-dataset.md",
        )
    return stem + suffix


def _name_source(spec: DatasetSpec) -> str:
    source = spec.source
    if source.s3 is not None:
        return source.s3.uri
    if source.persistent_volume_claim is not None:
        return f"claim {source.persistent_volume_claim.claim_name}"
    return "pushes"


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
