"""Views and their parts for tests of the operator's plan: each is whole and ordinary, and each field can be changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from atelier_contract import names
from atelier_contract.base import SCHEMA_VERSION
from atelier_contract.conditions import ConditionStatus
from atelier_contract.dataset import DatasetSpec, DatasetStatus
from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.termination import (
    CollectResult,
    InspectionResult,
    PreflightResult,
    PublishedRow,
    PublishResult,
    TerminationReport,
    TrainResult,
)
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import (
    CreateJob,
    DatasetView,
    Meta,
    ObservedDataset,
    ObservedJob,
    ObservedPod,
    Plan,
    Surroundings,
    TrainingJobView,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REVISION = "d" * 64
UID = "teapot-uid"
IMAGE = "registry.example/atelier-trainer:1"


def later(seconds: float) -> datetime:
    """A time after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_spec(**changes: Any) -> TrainingJobSpec:
    """A concept model on Stable Diffusion 1; `changes` are serialised fields, None takes one away."""
    spec: dict[str, Any] = {
        "modelName": "TKXW teapot",
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {"captionPrefix": "TKXW"},
        "steps": 100,
        **changes,
    }
    return TrainingJobSpec.model_validate({key: value for key, value in spec.items() if value is not None})


def a_meta(**changes: Any) -> Meta:
    """Metadata of the object under test."""
    meta = Meta("team", "teapot", UID, 1, "10", {}, (), None, NOW - timedelta(seconds=60))
    return replace(meta, **changes)


def a_surroundings(**changes: Any) -> Surroundings:
    """A healthy namespace and the operator's settings."""
    found = Surroundings(
        cluster_uid="cluster-uid",
        namespace_uid="namespace-uid",
        namespace_terminating=False,
        trainer_image=IMAGE,
        image_pull_policy="IfNotPresent",
        operator_namespace="atelier-system",
        operator_labels=dict(names.OPERATOR_LABELS),
    )
    return replace(found, **changes)


def a_condition(kind: Condition, value: str = "True", reason: str = "AsExpected", message: str = "") -> ConditionStatus:
    """A condition as status holds it."""
    return ConditionStatus(
        type=kind.value, status=value, reason=reason, message=message, last_transition_time="2026-11-23T11:00:00Z"
    )


def a_dataset(*, ready: bool = True, spec: dict[str, Any] | None = None, **changes: Any) -> ObservedDataset:
    """A dataset that is inspected and usable for both types; `changes` are fields of its status."""
    conditions = [a_condition(Condition.READY, "True" if ready else "False", "Inspected", "12 usable pictures")]
    status: dict[str, Any] = {
        "conditions": conditions,
        "revision": REVISION,
        "items": 12,
        "captioned": 12,
        "usable_for": ["ConceptModel", "Embedding"],
        **changes,
    }
    return ObservedDataset(
        "teapots-uid", DatasetSpec.model_validate(spec or {"source": {"upload": {}}}), DatasetStatus(**status)
    )


def a_view(spec: TrainingJobSpec | None = None, **changes: Any) -> TrainingJobView:
    """A TrainingJob that was just created, its dataset ready."""
    view = TrainingJobView(
        meta=a_meta(),
        spec=spec or a_spec(),
        problem="",
        status=TrainingJobStatus(),
        dataset=a_dataset(),
        template=None,
        jobs=(),
        progress=None,
        refused="",
        surroundings=a_surroundings(),
    )
    return replace(view, **changes)


def a_dataset_view(spec: dict[str, Any] | None = None, **changes: Any) -> DatasetView:
    """A Dataset that was just created."""
    view = DatasetView(
        meta=a_meta(name="teapots", uid="teapots-uid"),
        spec=DatasetSpec.model_validate(spec or {"source": {"upload": {}}}),
        problem="",
        status=DatasetStatus(),
        jobs=(),
        surroundings=a_surroundings(),
    )
    return replace(view, **changes)


def a_pod(name: str = "pod", **changes: Any) -> ObservedPod:
    """A pod whose container runs."""
    pod = ObservedPod(
        name=name,
        uid=f"{name}-uid",
        job_uid="job-uid",
        phase="Running",
        node="node-1",
        node_ready=None,
        ip="10.0.0.1",
        created_at=NOW - timedelta(seconds=30),
        scheduled_at=NOW - timedelta(seconds=29),
        started_at=NOW - timedelta(seconds=20),
        finished_at=None,
        deleted_at=None,
        grace_seconds=120,
        exit_code=None,
        oom_killed=False,
        disrupted=False,
        waiting_reason="",
        waiting_message="",
        report=None,
    )
    return replace(pod, **changes)


def a_pending_pod(name: str = "pod", **changes: Any) -> ObservedPod:
    """A pod that no node has room for."""
    pending = {"phase": "Pending", "node": "", "ip": "", "scheduled_at": None, "started_at": None}
    return a_pod(name, **{**pending, "waiting_reason": "Unschedulable", **changes})


def an_ended_pod(
    name: str = "pod", *, code: int = 0, report: TerminationReport | None = None, **changes: Any
) -> ObservedPod:
    """A pod whose container has ended, with its last words."""
    ended = {"phase": "Succeeded" if code == 0 else "Failed", "exit_code": code, "finished_at": NOW, "report": report}
    return a_pod(name, **{**ended, **changes})


def a_job(name: str, role: Role, *pods: ObservedPod, **changes: Any) -> ObservedJob:
    """A Job of the object under test that has not ended."""
    job = ObservedJob(
        name=name,
        uid=f"{name}-uid",
        owner_uid=UID,
        role=role,
        input_digest="",
        created_at=NOW - timedelta(seconds=40),
        deleted_at=None,
        suspended=False,
        complete=False,
        failed=False,
        failure_reason="",
        failure_message="",
        pods=tuple(replace(pod, job_uid=f"{name}-uid") for pod in pods),
    )
    return replace(job, **changes)


def a_report(role: Role, reason: Reason = Reason.COMPLETED, **changes: Any) -> TerminationReport:
    """The last words of a pod that has nothing special to say."""
    return TerminationReport(schema_version=SCHEMA_VERSION, role=role, reason=reason, **changes)


def a_row(step: int, loss: float | None = 0.2) -> tuple[int, int, str, float | None, int]:
    """A checkpoint's compact row; step 0 has no file."""
    return (step, 1000, f"{step:016x}" if step else "", loss, 4)


def a_preflight_report(status: TrainingJobStatus, **changes: Any) -> TerminationReport:
    """A preflight that found nothing missing."""
    rows = changes.pop("rows", [])
    result = PreflightResult(run_identity=status.run_identity or "", storage_bytes=11_000, seconds=60)
    return a_report(Role.PREFLIGHT, rows=rows, preflight=result.model_copy(update=changes))


def a_train_report(attempt: str = "pod-uid", *steps: int, **changes: Any) -> TerminationReport:
    """An attempt that completed the run with these checkpoints."""
    kept = steps or tuple(range(0, 101, 10))
    result = TrainResult(attempt=attempt, from_step=0, to_step=kept[-1], complete=True)
    rows = [a_row(step) for step in kept]
    return a_report(Role.TRAIN, rows=rows, train=result.model_copy(update=changes))


def a_publish_report(*steps: int) -> TerminationReport:
    """A publication of these steps, each with the digest that was recorded."""
    models = [PublishedRow(step=step, sha256=f"{step:016x}" + "0" * 48, bytes=900) for step in steps]
    return a_report(Role.PUBLISH, publish=PublishResult(models=models))


def a_collect_report(*steps: int) -> TerminationReport:
    """A deletion of these steps."""
    return a_report(Role.COLLECT, collect=CollectResult(steps=list(steps), reclaimed_bytes=1000 * len(steps)))


def an_inspection_report(**changes: Any) -> TerminationReport:
    """An inspection that found twelve captioned pictures."""
    result = InspectionResult(
        revision=REVISION, items=12, captioned=12, bytes=5000, report_key="team/datasets/teapots/revisions/d.json"
    )
    return a_report(Role.INSPECT, inspection=result.model_copy(update=changes))


def an_answer(pod: str = "pod-uid", identity: str = "", step: int = 20, **changes: Any) -> ProgressReport:
    """A running pod's answer."""
    report = ProgressReport(
        run_identity=identity, attempt=pod, phase="Training", step=step, total_steps=100, loss=0.125
    )
    return report.model_copy(update=changes)


def condition_of(plan: Plan, kind: Condition) -> ConditionStatus:
    """The condition that a plan writes; fails where it writes none."""
    return next(c for c in plan.status.conditions if c.type == kind)


def created(plan: Plan) -> list[CreateJob]:
    """The children that a plan asks for."""
    return [action for action in plan.actions if isinstance(action, CreateJob)]


def created_names(plan: Plan) -> list[str]:
    """Their names."""
    return [action.job["metadata"]["name"] for action in created(plan)]
