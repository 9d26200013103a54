"""The status of a TrainingJob: everything the operator knows, in at most 32 KiB.

No phase is stored: the reason of the
Ready condition is the state word. Numbers are integers or strings, so that equal observations give equal documents.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Report, canonical_json, keyed_by
from atelier_contract.conditions import ConditionStatus
from atelier_contract.names import MAX_STATUS_BYTES

MAX_ATTEMPTS = 10
MAX_CHECKPOINT_ROWS = 40
MAX_RESOLVED_ROWS = 60

CheckpointState = Literal["Available", "Selected", "Published", "Deleting", "Deleted", "Lost"]
Count = Annotated[int, Field(ge=0)]
Word = Annotated[str, Field(max_length=64)]
Digest = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")]
Name = Annotated[str, Field(max_length=63)]
DecimalText = Annotated[str, Field(max_length=24)]
Time = Annotated[str, Field(max_length=32)]


class ResolvedSetting(Report):
    """One setting as it is used."""

    name: Word
    """Name of the setting, as in spec. Example: tuning.batchSize."""
    value: Annotated[str, Field(max_length=128)]
    """Its value as text."""
    source: Literal["Spec", "Template", "Default"]
    """Where the value came from."""


class ProgressStatus(Report):
    """How far the training is."""

    phase: Word = ""
    """What the trainer does: Fetching, Verifying, Caching, Training, Checkpointing, Finished."""
    step: Count
    """Optimiser steps done."""
    total_steps: Count
    """Optimiser steps asked for."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share done, in percent."""
    epoch: Count = 0
    """Passes over the pictures that are complete."""
    loss: DecimalText = ""
    """Training loss, smoothed over recent steps."""
    images_per_second: DecimalText = ""
    """Pictures trained a second."""
    remaining_seconds: Count | None = None
    """Estimate of the time left."""
    observed_at: Time = ""
    """When this was asked, RFC 3339."""


class AttemptStatus(Report):
    """One start of the run's pods."""

    id: Annotated[str, Field(max_length=36)]
    """UID of the pod."""
    ordinal: Count = 0
    """Ordinal in the name of the training Job that started it. Example: 2 for JOB-train-2."""
    node: Annotated[str, Field(max_length=253)] = ""
    """Where it ran."""
    reason: Word = ""
    """How it ended; empty while it runs."""
    from_step: Count = 0
    """Step it started from."""
    to_step: Count = 0
    """Step it reached."""
    seconds: Count = 0
    """How long it ran."""


class CheckpointStatus(Report):
    """One checkpoint that is whole in the store."""

    name: Annotated[str, Field(max_length=12)]
    """step-000500."""
    step: Count
    """Its step."""
    bytes: Count
    """Size of its model files and samples."""
    sha256: Digest
    """Digest of its first model file; the first 16 hex digits where only the termination message told of it."""
    held_out_loss: DecimalText = ""
    """Loss on pictures that were not trained on (probe loss where none were held out)."""
    samples: Count = 0
    """Number of sample pictures; their keys follow from the name."""
    best: bool | None = None
    """Lowest held-out loss so far. Only a hint: the user chooses."""
    state: CheckpointState
    """What became of it."""


class CollectionStatus(Report):
    """The deletion that finalize leads to."""

    selection_digest: Digest
    """Digest of the selection this collection follows from."""
    checkpoints: Count
    """Checkpoints that will be, or were, deleted."""
    bytes: Count
    """Bytes that will be, or were, freed."""
    not_before: Time
    """Deletion starts at this time at the earliest, RFC 3339."""
    started_at: Time | None = None
    """When deletion started; from then on the selection is frozen."""


class ModelStatus(Report):
    """One published model."""

    name: Annotated[str, Field(max_length=80)]
    """File stem under which tools know it."""
    checkpoint: Annotated[str, Field(max_length=12)]
    """Checkpoint it was made from."""
    key: Annotated[str, Field(max_length=512)]
    """Key of the file in the store; empty where a very large status left no room (it follows from the layout)."""
    sha256: Digest
    """Digest of the file."""
    bytes: Count
    """Size of the file."""


class EstimateStatus(Report):
    """What preflight expects of the run."""

    gpu_memory_bytes: Count = 0
    """Peak memory of the GPU."""
    storage_bytes: Count = 0
    """Bytes that all checkpoints together will take."""
    seconds: Count = 0
    """Time of the training; 0 when it cannot be told."""


class TrainingJobStatus(Report):
    """Everything the operator knows of a run.

    Its lists have one writer and are replaced as a whole (atomic in the CRD): rows told apart one by one would make the
    API server keep an owner for each of their fields, half of the object's size. Only conditions are keyed, by custom.
    """

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[ConditionStatus], Field(max_length=16, json_schema_extra=keyed_by("type"))] = []
    """All types are present from the first look. The reason of Ready is the state."""
    run_identity: Digest | None = None
    """Digest of what was asked; computed once, never again."""
    spec_digest: Digest | None = None
    """Digest of the user's spec and runId; a re-created object finds its run by it."""
    dataset_revision: Digest | None = None
    """Revision of the dataset that the run is pinned to."""
    prior_dataset_revision: Digest | None = None
    """Revision of the dataset of prior pictures that the run is pinned to; only where it names one."""
    trainer_image: Annotated[str, Field(max_length=512)] | None = None
    """Image that the run is pinned to."""
    resolved: Annotated[list[ResolvedSetting], Field(max_length=MAX_RESOLVED_ROWS)] | None = None
    """Every setting as it is used, and where it came from."""
    estimate: EstimateStatus | None = None
    """What preflight expects of the run."""
    progress: ProgressStatus | None = None
    """How far the training is."""
    attempts: Annotated[list[AttemptStatus], Field(max_length=MAX_ATTEMPTS)] | None = None
    """Starts of the run's pods, oldest first; only the last ten are kept."""
    earlier_attempts_seconds: Count | None = None
    """How long the attempts ran that are no longer listed: pod.deadlineSeconds counts them too."""
    start_time: Time | None = None
    """When the first training pod started, RFC 3339."""
    completion_time: Time | None = None
    """When the run ended, in either way, RFC 3339."""
    checkpoints: Annotated[list[CheckpointStatus], Field(max_length=MAX_CHECKPOINT_ROWS)] | None = None
    """Checkpoints in the store, by step."""
    collection: CollectionStatus | None = None
    """The deletion that finalize leads to."""
    models: Annotated[list[ModelStatus], Field(max_length=MAX_CHECKPOINT_ROWS)] | None = None
    """Published models."""
    reclaimed_bytes: Count | None = None
    """Bytes freed by collection."""
    kept: Annotated[str, Field(max_length=16)] | None = None
    """Checkpoints kept of all, for the table of kubectl get. Example: 2/10."""
    last_handled_retry_at: Word | None = None
    """Value of the annotation atelier.dev/retry-requested-at that was last acted on."""
    ordinals: Annotated[dict[Name, Count], Field(max_length=8)] | None = None
    """Number of child Jobs started so far, by role: the ordinal in the last one's name."""
    failures: Count | None = None
    """Consecutive failures of publish or collect: the pause before the next try grows with it."""


def fit_status(status: TrainingJobStatus) -> TrainingJobStatus:
    """Return the status in at most 32 KiB of JSON; nearly always it is the same.

    What can be told shorter gives way first, what follows from the rest next: messages, digests of rows (16 hex digits
    stay), values of settings, keys of models. No row is ever dropped.
    """
    for shorten in (_shorten_messages, _shorten_digests, _shorten_values, _drop_keys):
        if len(canonical_json(status.as_json())) <= MAX_STATUS_BYTES:
            break
        status = shorten(status)
    return status


_ROOM_BYTES = 128
"""What a message keeps where a status is too large."""
_VALUE_BYTES = 32
_DIGEST_LENGTH = 16


def _shorten_messages(status: TrainingJobStatus) -> TrainingJobStatus:
    rows = [row.model_copy(update={"message": _cut(row.message, _ROOM_BYTES)}) for row in status.conditions]
    return status.model_copy(update={"conditions": rows})


def _shorten_digests(status: TrainingJobStatus) -> TrainingJobStatus:
    checkpoints = [row.model_copy(update={"sha256": row.sha256[:_DIGEST_LENGTH]}) for row in status.checkpoints or ()]
    models = [row.model_copy(update={"sha256": row.sha256[:_DIGEST_LENGTH]}) for row in status.models or ()]
    return status.model_copy(update={"checkpoints": checkpoints or None, "models": models or None})


def _shorten_values(status: TrainingJobStatus) -> TrainingJobStatus:
    rows = [row.model_copy(update={"value": _cut(row.value, _VALUE_BYTES)}) for row in status.resolved or ()]
    return status.model_copy(update={"resolved": rows or None})


def _drop_keys(status: TrainingJobStatus) -> TrainingJobStatus:
    rows = [row.model_copy(update={"key": ""}) for row in status.models or ()]
    return status.model_copy(update={"models": rows or None})


def _cut(text: str, size_bytes: int) -> str:
    """Return text of at most so many bytes in UTF-8, never half a character."""
    return text.encode()[:size_bytes].decode(errors="ignore")
