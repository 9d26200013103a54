"""What `plan/` and `edges/` both know: frozen values for what is observed, what is to be done, and the plan between.

Edges fill `Observed…` from the cluster and perform `Action`s; plan turns one into the other. Times are aware UTC
datetimes. No raw dictionary of the user's passes this room: specs and statuses are the contract's models; only bodies
of children that are to be created are plain JSON, because that is what the API takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from atelier_contract.dataset import DatasetSpec, DatasetStatus
from atelier_contract.inputs import ControlFile
from atelier_contract.progress import ProgressReport
from atelier_contract.roles import Role
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.termination import TerminationReport
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus

Json = dict[str, Any]
Kind = Literal["Dataset", "TrainingJob"]


@dataclass(frozen=True, order=True)
class Key:
    """One object the operator looks after."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Meta:
    """The part of an object's metadata that decisions need."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    annotations: dict[str, str]
    finalizers: tuple[str, ...]
    deleted_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class ObservedPod:
    """A pod of one of our Jobs."""

    name: str
    uid: str
    job_uid: str
    """UID of the controlling Job: a pod of another Job is never asked or counted."""
    phase: str
    node: str
    node_ready: bool | None
    """None: not looked at (only looked at when the pod is Terminating for long)."""
    ip: str
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    """When the container began to run."""
    finished_at: datetime | None
    deleted_at: datetime | None
    """deletionTimestamp: already includes the grace period, as the API server writes it."""
    grace_seconds: int
    exit_code: int | None
    oom_killed: bool
    disrupted: bool
    """The pod has the condition DisruptionTarget."""
    waiting_reason: str
    """Why the container does not run, e.g. ImagePullBackOff; empty otherwise."""
    waiting_message: str
    report: TerminationReport | None
    index: int = 0
    """Which of the pods that train together this is; 0 leads: it writes, reports, and is asked for progress."""


@dataclass(frozen=True)
class ObservedJob:
    """A child Job, ours or a namesake."""

    name: str
    uid: str
    owner_uid: str
    """UID of the object it serves (label of a deletion's collect Job, else owner reference); empty: foreign."""
    role: Role | None
    input_digest: str
    created_at: datetime
    deleted_at: datetime | None
    suspended: bool
    complete: bool
    failed: bool
    failure_reason: str
    failure_message: str
    pods: tuple[ObservedPod, ...] = ()


@dataclass(frozen=True)
class ObservedProgress:
    """The answer of a running pod, or that there was none."""

    pod_uid: str
    asked_at: datetime
    report: ProgressReport | None
    """None: the pod could not be reached or answered nonsense."""
    problem: str = ""


@dataclass(frozen=True)
class ObservedDataset:
    """A Dataset as a TrainingJob sees it."""

    uid: str
    spec: DatasetSpec
    status: DatasetStatus


@dataclass(frozen=True)
class Surroundings:
    """What is the same for all objects of a namespace, and the operator's own settings."""

    cluster_uid: str
    namespace_uid: str
    namespace_terminating: bool
    trainer_image: str
    image_pull_policy: str
    operator_namespace: str
    """Where the operator runs: the NetworkPolicy of a run lets its pods in."""
    operator_labels: dict[str, str]
    """Labels of the operator's own pods."""


@dataclass(frozen=True)
class DatasetView:
    """Everything a Dataset's decision is made from."""

    meta: Meta
    spec: DatasetSpec | None
    """None: not readable; `problem` says why."""
    problem: str
    status: DatasetStatus
    jobs: tuple[ObservedJob, ...]
    surroundings: Surroundings
    refused: str = ""
    """As in TrainingJobView."""


@dataclass(frozen=True)
class TrainingJobView:
    """Everything a TrainingJob's decision is made from."""

    meta: Meta
    spec: TrainingJobSpec | None
    """None: not readable; `problem` says why."""
    problem: str
    status: TrainingJobStatus
    dataset: ObservedDataset | None
    template: TrainingTemplateSpec | None
    """None: not named, or not there."""
    jobs: tuple[ObservedJob, ...]
    progress: ObservedProgress | None
    refused: str
    """What the API server said when the last child was refused; empty: nothing was refused."""
    surroundings: Surroundings
    orphans: tuple[ObservedPod, ...] = ()
    """Training pods of this object (by `names.LABEL_OWNER_UID`) whose Job is gone from `jobs`: deleted in the
    background, a Job leaves at once and its pod goes on until it has ended. The next pod waits for it."""
    prior_dataset: ObservedDataset | None = None
    """The dataset of prior pictures. None: not named, or not there."""


@dataclass(frozen=True)
class CreateJob:
    """Create a child Job with what belongs to it, or find the same there already.

    Order: config map, network policy, service, Job. Owner references are in the bodies. A namesake with another owner
    UID or input digest is a conflict that the next look shows.
    """

    job: Json
    config_map: Json
    network_policy: Json | None = None
    service: Json | None = None
    """By which pods that train together find the first of them."""


@dataclass(frozen=True)
class DeleteJob:
    """Delete a child Job in the background, only if it still has this UID."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeleteConfigMap:
    """Delete a ConfigMap that has no owner (the deletion's collect Job's); that it is gone already is fine."""

    name: str


@dataclass(frozen=True)
class WriteControl:
    """Write control.json of a run's ConfigMap."""

    config_map: str
    control: ControlFile


@dataclass(frozen=True)
class SetFinalizer:
    """Hold or release the object."""

    present: bool


@dataclass(frozen=True)
class EmitEvent:
    """Tell the user something once, as an Event on the object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Action = CreateJob | DeleteJob | DeleteConfigMap | WriteControl | SetFinalizer | EmitEvent


@dataclass(frozen=True)
class Plan:
    """What follows from a look: do these in order, write this status, look again then.

    `write_status_first` is set where a status must be on record before an action is taken (collection.startedAt before
    the collect Job, lastHandledRetryAt before the next attempt).
    """

    status: DatasetStatus | TrainingJobStatus
    actions: tuple[Action, ...] = ()
    write_status_first: bool = False
    look_again_seconds: float | None = None
    """None: only an event brings the next look."""
    ask_pod: ObservedPod | None = None
    """The running training pod whose progress is to be asked for, if any."""
    labels: dict[str, str] = field(default_factory=dict)
    """Labels of metrics (state), bounded."""
