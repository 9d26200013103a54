"""A TrainingJob brought to a stage of its life, by the plan itself: tests begin where their rule begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from atelier_contract import names
from atelier_contract.roles import Role
from atelier_contract.training_job import SelectionSpec, TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import CreateJob, ObservedDataset, ObservedJob, ObservedPod, Plan, TrainingJobView
from atelier_operator.plan.decide_training_job import decide
from operator_builders import (
    NOW,
    a_job,
    a_meta,
    a_pod,
    a_preflight_report,
    a_publish_report,
    a_spec,
    a_train_report,
    a_view,
    an_ended_pod,
    created,
    later,
)


@dataclass(frozen=True)
class Stage:
    """What is observed, when, and what the plan made of it."""

    view: TrainingJobView
    now: datetime
    plan: Plan

    def then(self, *, seconds: float = 0.0, **changes: Any) -> Stage:
        """Write the plan's status, change the view, and look again."""
        assert isinstance(self.plan.status, TrainingJobStatus)
        view = replace(self.view, status=self.plan.status, **changes)
        now = later((self.now - NOW).total_seconds() + seconds)
        return Stage(view, now, decide(view, now))

    def edit(self, *, seconds: float = 0.0, **changes: Any) -> Stage:
        """Change the spec as a user does, and look again."""
        assert self.view.spec is not None
        meta = replace(self.view.meta, generation=self.view.meta.generation + 1)
        return self.then(seconds=seconds, spec=self.view.spec.model_copy(update=changes), meta=meta)

    def with_job(self, job: ObservedJob, *, seconds: float = 0.0, **changes: Any) -> Stage:
        """Put a Job there, in place of one of the same name, and look again."""
        others = tuple(other for other in self.view.jobs if other.name != job.name)
        return self.then(seconds=seconds, jobs=(*others, job), **changes)

    @property
    def status(self) -> TrainingJobStatus:
        """The status that the plan writes."""
        assert isinstance(self.plan.status, TrainingJobStatus)
        return self.plan.status


def look_at(view: TrainingJobView, now: datetime = NOW) -> Stage:
    """Look at a view."""
    return Stage(view, now, decide(view, now))


def at_preflight(spec: TrainingJobSpec | None = None, **changes: Any) -> Stage:
    """The first look: the preflight Job is asked for."""
    return look_at(a_view(spec, **changes))


def after_preflight(stage: Stage, **found: Any) -> Stage:
    """The preflight Job of the present round has ended well."""
    ordinal = (stage.status.ordinals or {})["preflight"]
    report = a_preflight_report(stage.status, **found)
    pod = an_ended_pod(f"preflight-pod-{ordinal}", report=report)
    return stage.with_job(a_job(f"teapot-preflight-{ordinal}", Role.PREFLIGHT, pod, complete=True))


def at_training(spec: TrainingJobSpec | None = None, **changes: Any) -> Stage:
    """The training Job is asked for."""
    return after_preflight(at_preflight(spec, **changes))


def at_running(spec: TrainingJobSpec | None = None, pod: ObservedPod | None = None, **changes: Any) -> Stage:
    """A training pod runs."""
    return at_training(spec, **changes).with_job(a_job("teapot-train-1", Role.TRAIN, pod or a_pod()))


def at_selection(spec: TrainingJobSpec | None = None, *steps: int, **changes: Any) -> Stage:
    """Training is complete: eleven pictures' worth of steps, checkpoints 10 to 100."""
    ended = an_ended_pod(report=a_train_report("pod-uid", *steps))
    running = at_running(spec, **changes)
    return running.with_job(a_job("teapot-train-1", Role.TRAIN, ended, complete=True))


def choose(*steps: int, finalize: bool = True) -> SelectionSpec:
    """A selection of steps."""
    return SelectionSpec(checkpoints=[f"step-{step:06d}" for step in steps], finalize=finalize)


def at_publishing(spec: TrainingJobSpec | None = None) -> Stage:
    """Steps 20 and 50 are selected and finalized: the publish Job is asked for."""
    return at_selection(spec).edit(selection=choose(20, 50))


def job_of(child: CreateJob, *pods: ObservedPod, **changes: Any) -> ObservedJob:
    """The Job that a child became."""
    metadata = child.job["metadata"]
    role = Role(metadata["labels"][names.LABEL_ROLE])
    owner_uid = metadata["labels"][names.LABEL_OWNER_UID]
    return a_job(metadata["name"], role, *pods, **{"owner_uid": owner_uid, **changes})


def at_grace(spec: TrainingJobSpec | None = None) -> Stage:
    """The selection is published; the grace time runs."""
    stage = at_publishing(spec)
    pod = an_ended_pod("publish-pod", report=a_publish_report(20, 50))
    return stage.with_job(job_of(created(stage.plan)[0], pod, complete=True), seconds=10)


def at_collecting(spec: TrainingJobSpec | None = None) -> Stage:
    """The grace time is over: the collect Job is asked for."""
    return at_grace(spec).then(seconds=600)


def training_child(
    spec: TrainingJobSpec | None = None, *, dataset: ObservedDataset | None = None, storage_bytes: int = 0
) -> CreateJob:
    """The training child of a run."""
    stage = at_preflight(spec, **({"dataset": dataset} if dataset else {}))
    return created(after_preflight(stage, storage_bytes=storage_bytes).plan)[0]


def holding(stage: Stage) -> Stage:
    """The same with our finalizer on the object."""
    return stage.then(meta=replace(stage.view.meta, finalizers=(names.FINALIZER,)))


def deleting_spec(**changes: Any) -> TrainingJobSpec:
    """A run whose data goes with the object."""
    return a_spec(deletionPolicy="Delete", **changes)


def deleted_meta(stage: Stage, seconds_ago: float = 0.0) -> dict[str, Any]:
    """Changes that make an object with our finalizer one that is being deleted."""
    meta = replace(
        a_meta(), generation=stage.view.meta.generation, finalizers=(names.FINALIZER,), deleted_at=later(-seconds_ago)
    )
    return {"meta": meta}
