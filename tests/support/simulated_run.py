"""A cluster and a store in miniature, for one TrainingJob: what the plan decides is done, and then things happen.

The model keeps what matters to the plan's promises: Jobs with at most one live pod each, pods that outlive a Job that
was deleted in the background, nodes that vanish with a pod on them, an operator that dies between its actions and its
status, and a store in which checkpoints exist or do not. Each happening is a method; a test draws an order of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from atelier_contract import names
from atelier_contract.exit_codes import FAILING, IGNORED
from atelier_contract.inputs import CollectInput, PublishInput, TrainingInput
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.termination import CollectResult, PreflightResult, TerminationReport, TrainResult
from atelier_contract.training_job import SelectionSpec, TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import (
    CreateJob,
    DeleteJob,
    ObservedJob,
    ObservedPod,
    ObservedProgress,
    Plan,
    SetFinalizer,
    TrainingJobView,
    WriteControl,
)
from atelier_operator.plan.decide_training_job import decide
from operator_builders import NOW, a_pending_pod, a_publish_report, a_report, a_row, a_spec, a_view, an_answer

STEPS = 100
EVERY = 10


@dataclass
class Store:
    """What lies in the bucket."""

    checkpoints: set[int] = field(default_factory=set)
    published: set[int] = field(default_factory=set)
    complete: bool = False
    stopped: bool = False
    whole_run_gone: bool = False


@dataclass
class SimulatedRun:
    """One TrainingJob, its children and its store."""

    view: TrainingJobView = field(default_factory=lambda: a_view(a_spec(steps=STEPS, retention={"graceSeconds": 60})))
    now: datetime = NOW
    store: Store = field(default_factory=Store)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Data of each ConfigMap, by name."""
    collected: list[tuple[CollectInput, TrainingJobStatus, TrainingJobSpec, datetime]] = field(default_factory=list)
    """Each deletion asked for, with the status on record and the spec at that moment."""
    trained_after_end: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    """Step of each live training pod, by UID."""
    gone: bool = False
    count: int = 0

    # What the operator does.

    def look(self, crash: str = "") -> Plan | None:
        """Observe, decide, act, write status; `crash` ends the operator after its actions or its first write."""
        if self.gone:
            return None
        plan = decide(replace(self.view, progress=self._ask()), self.now)
        assert isinstance(plan.status, TrainingJobStatus)
        if plan.write_status_first:
            self.view = replace(self.view, status=plan.status)
            if crash == "between":
                return plan
        for action in plan.actions:
            self._act(action)
        if not plan.write_status_first and crash == "between":
            return plan
        self.view = replace(self.view, status=plan.status)
        return plan

    def settle(self) -> None:
        """Look until nothing more is done."""
        for _ in range(20):
            before = self.view
            self.look()
            if self.view == before:
                return
        raise AssertionError("the plan never comes to rest")

    # What happens.

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def edit(self, **changes: Any) -> None:
        """Change the spec as a user does."""
        assert self.view.spec is not None
        meta = replace(self.view.meta, generation=self.view.meta.generation + 1)
        self.view = replace(self.view, spec=self.view.spec.model_copy(update=changes), meta=meta)

    def select(self, *steps: int, finalize: bool = True) -> None:
        """Select checkpoints, unless deletion has started: the API server freezes the selection then."""
        collection = self.view.status.collection
        if collection is None or collection.started_at is None:
            chosen = [f"step-{step:06d}" for step in steps]
            self.edit(selection=SelectionSpec(checkpoints=chosen, finalize=finalize))

    def request_retry(self) -> None:
        """Annotate the object."""
        self.count += 1
        annotations = {**self.view.meta.annotations, names.ANNOTATION_RETRY_REQUESTED_AT: f"ask-{self.count}"}
        self.view = replace(self.view, meta=replace(self.view.meta, annotations=annotations))

    def delete_object(self) -> None:
        """Delete the TrainingJob; without our finalizer it is gone at once."""
        self.view = replace(self.view, meta=replace(self.view.meta, deleted_at=self.now))
        self.gone = not self.view.meta.finalizers

    def create_pods(self) -> None:
        """Let the Job controller do its part: a pod for each Job that has no live one."""
        for job in self.view.jobs:
            live = any(pod.phase in {"Pending", "Running"} for pod in job.pods)
            if live or job.suspended or job.complete or job.failed or job.deleted_at:
                continue
            self.count += 1
            pod = a_pending_pod(f"{job.name}-{self.count}", created_at=self.now, job_uid=job.uid)
            self._put(replace(job, pods=(*job.pods, pod)))

    def run_pods(self) -> None:
        """Give every waiting pod a node and start it."""
        for job, pod in self._pods():
            if pod.phase == "Pending":
                running = replace(
                    pod, phase="Running", node="node-1", ip="10.0.0.1", scheduled_at=self.now, started_at=self.now
                )
                self._put_pod(job, replace(running, waiting_reason=""))
                if job.role is Role.TRAIN:
                    assert not self._finished(), f"{pod.name} trains although the run has ended"
                    self.steps[pod.uid] = max(self.store.checkpoints, default=0)

    def train(self, steps: int) -> None:
        """Let every live training pod, zombies too, do some steps."""
        for pod in self.list_training_pods():
            if pod.phase == "Running":
                start = self.steps.get(pod.uid, 0)
                end = min(STEPS, start + steps)
                self.steps[pod.uid] = end
                self.store.checkpoints |= {step for step in range(start, end + 1) if step % EVERY == 0}

    def finish_pods(self, code: int = 0) -> None:
        """Let every running pod of a Job end, well or with an exit code."""
        for job, pod in self._pods():
            if pod.phase == "Running":
                self._end(job, pod, code)

    def evict(self) -> None:
        """Evict the running pods: they save their state and end with DisruptionTarget."""
        for job, pod in self._pods():
            if pod.phase == "Running":
                ended = replace(pod, phase="Failed", exit_code=30, disrupted=True, finished_at=self.now)
                self._put_pod(job, ended)

    def lose_node(self) -> None:
        """Take the node away under the running pods: they are Terminating and never end."""
        for job, pod in self._pods():
            if pod.phase == "Running" and pod.deleted_at is None:
                lost = replace(pod, deleted_at=self.now + timedelta(seconds=pod.grace_seconds), node_ready=False)
                self._put_pod(job, lost)

    def end_orphans(self) -> None:
        """Let the pods of deleted Jobs end, but for those on a lost node."""
        for pod in self.view.orphans:
            if pod.node_ready is not False:
                self._drop_orphan(pod)

    # What a test asks.

    def list_training_pods(self) -> list[ObservedPod]:
        """Every training pod that has not ended, orphans too."""
        pods = [pod for job, pod in self._pods() if job.role is Role.TRAIN]
        return [pod for pod in (*pods, *self.view.orphans) if pod.phase in {"Pending", "Running"}]

    def list_unfenced(self) -> list[ObservedPod]:
        """Those that are not beyond reach."""
        limit = timedelta(seconds=60)
        return [
            pod
            for pod in self.list_training_pods()
            if not (pod.node_ready is False and pod.deleted_at and self.now - pod.deleted_at > limit)
        ]

    def is_true(self, kind: Condition) -> bool:
        """Whether a condition on record holds."""
        return any(c.type == kind and c.status == "True" for c in self.view.status.conditions)

    @property
    def state(self) -> str:
        """The state word on record."""
        return next(c.reason for c in self.view.status.conditions if c.type == Condition.READY)

    def _ask(self) -> ObservedProgress | None:
        for job, pod in self._pods():
            if job.role is Role.TRAIN and pod.phase == "Running" and pod.deleted_at is None:
                identity = self.view.status.run_identity or ""
                step = self.steps.get(pod.uid, 0)
                return ObservedProgress(pod.uid, self.now, an_answer(pod.uid, identity, step))
        return None

    def _finished(self) -> bool:
        return self.is_true(Condition.COMPLETE) or self.is_true(Condition.FAILED)

    def _pods(self) -> Iterator[tuple[ObservedJob, ObservedPod]]:
        for job in self.view.jobs:
            for pod in job.pods:
                yield job, pod

    def _put(self, job: ObservedJob) -> None:
        others = tuple(other for other in self.view.jobs if other.uid != job.uid)
        self.view = replace(self.view, jobs=(*others, job))

    def _put_pod(self, job: ObservedJob, pod: ObservedPod) -> None:
        now = next(other for other in self.view.jobs if other.uid == job.uid)
        self._put(replace(now, pods=tuple(pod if other.uid == pod.uid else other for other in now.pods)))

    def _drop_orphan(self, pod: ObservedPod) -> None:
        self.view = replace(self.view, orphans=tuple(other for other in self.view.orphans if other.uid != pod.uid))

    def _act(self, action: object) -> None:
        match action:
            case CreateJob():
                self._create(action)
            case DeleteJob(name=name, uid=uid):
                self._delete(name, uid)
            case WriteControl(config_map=name, control=control):
                self.inputs[name][names.CONTROL_FILE] = control.to_bytes().decode()
            case SetFinalizer(present=present):
                self.view = replace(
                    self.view, meta=replace(self.view.meta, finalizers=(names.FINALIZER,) if present else ())
                )
                self.gone = self.gone or (not present and self.view.meta.deleted_at is not None)

    def _create(self, action: CreateJob) -> None:
        metadata = action.job["metadata"]
        name, role = metadata["name"], Role(metadata["labels"][names.LABEL_ROLE])
        if any(job.name == name for job in self.view.jobs):
            return
        self.inputs[name] = dict(action.config_map["data"])
        self.count += 1
        if role is Role.TRAIN and self._finished():
            self.trained_after_end.append(name)
        if role is Role.COLLECT:
            document = CollectInput.from_bytes(self.inputs[name][names.INPUT_FILE].encode())
            assert self.view.spec is not None
            self.collected.append((document, self.view.status, self.view.spec, self.now))
        job = ObservedJob(
            name=name,
            uid=f"{name}-{self.count}",
            owner_uid=metadata["labels"][names.LABEL_OWNER_UID],
            role=role,
            input_digest="",
            created_at=self.now,
            deleted_at=None,
            suspended=bool(action.job["spec"].get("suspend")),
            complete=False,
            failed=False,
            failure_reason="",
            failure_message="",
        )
        self._put(job)

    def _delete(self, name: str, uid: str) -> None:
        """Delete a Job in the background: it is gone at once, and its live pods are told to end."""
        for job in self.view.jobs:
            if job.name == name and job.uid == uid:
                left = tuple(
                    replace(pod, deleted_at=pod.deleted_at or self.now + timedelta(seconds=pod.grace_seconds))
                    for pod in job.pods
                    if pod.phase in {"Pending", "Running"} and job.role is Role.TRAIN
                )
                jobs = tuple(other for other in self.view.jobs if other.uid != uid)
                self.view = replace(self.view, jobs=jobs, orphans=(*self.view.orphans, *left))

    def _end(self, job: ObservedJob, pod: ObservedPod, code: int) -> None:
        report = self._speak(job, pod) if code == 0 else None
        phase = "Succeeded" if code == 0 else "Failed"
        ended = replace(pod, phase=phase, exit_code=code, finished_at=self.now, report=report)
        self._put_pod(job, ended)
        now = next(other for other in self.view.jobs if other.uid == job.uid)
        counted = [p for p in now.pods if p.phase == "Failed" and p.exit_code not in {0, *IGNORED} and not p.disrupted]
        failed = code in FAILING or len(counted) > 2
        self._put(replace(now, complete=code == 0, failed=failed and code != 0))

    def _speak(self, job: ObservedJob, pod: ObservedPod) -> TerminationReport:
        """Return the last words of a pod that did its work, and do the work in the store."""
        data = json.loads(self.inputs[job.name][names.INPUT_FILE])
        rows = [a_row(step) for step in sorted(self.store.checkpoints)]
        match job.role:
            case Role.PREFLIGHT:
                asked = TrainingInput.model_validate(data)
                result = PreflightResult(run_identity=asked.run_identity, complete=self.store.complete)
                return a_report(Role.PREFLIGHT, preflight=result, rows=rows)
            case Role.TRAIN:
                stop = json.loads(self.inputs[job.name][names.CONTROL_FILE])["stop"]
                end = self.steps.get(pod.uid, 0) if stop else STEPS
                self.store.checkpoints |= {s for s in range(end + 1) if s % EVERY == 0} | {end}
                self.store.complete = True
                rows = [a_row(step) for step in sorted(self.store.checkpoints)]
                train = TrainResult(attempt=pod.uid, to_step=end, complete=True, stopped_early=stop)
                return a_report(Role.TRAIN, Reason.COMPLETED, train=train, rows=rows)
            case Role.PUBLISH:
                steps = [row.step for row in PublishInput.model_validate(data).selection]
                assert set(steps) <= self.store.checkpoints, "published what is not there"
                self.store.published |= set(steps)
                return a_publish_report(*steps)
            case _:
                plan = CollectInput.model_validate(data)
                doomed = {row.step for row in plan.deleted}
                self.store.checkpoints -= doomed
                self.store.whole_run_gone = self.store.whole_run_gone or plan.whole_run
                result_ = CollectResult(steps=sorted(doomed), reclaimed_bytes=1000 * len(doomed))
                return a_report(Role.COLLECT, collect=result_)
