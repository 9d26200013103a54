"""A namespace on a real API server with a job in every state, and everything around it that may be wrong.

Statuses are written as the operator would write them: nothing trains here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier_contract import dataset, names, training_job
from atelier_contract.reasons import Condition, DatasetState, Reason, State
from atelier_playground.api import Object
from atelier_playground.cluster import Cluster
from contract_examples import SHA, a_spec, an_object
from plugin import Answer, Terminal

NOW = "2026-11-23T08:00:00Z"
BIG = 26_000_000


@dataclass(frozen=True)
class Desk:
    """The namespace, and a terminal that is in it."""

    cluster: Cluster
    namespace: str
    terminal: Terminal

    def type(self, *words: str) -> Answer:
        """Run `kubectl atelier` with these words in this namespace."""
        return self.terminal.type(*words)

    def make_job(self, name: str, status: dict[str, Any] | None = None, **changes: Any) -> None:
        """Make a TrainingJob that stands as a status says; None: nobody has looked at it."""
        self.cluster.api.create(an_object(name=name, spec=a_spec(**changes)), self.namespace)
        if status is not None:
            self.write_status(training_job.KIND, name, status)

    def make_dataset(self, name: str, status: dict[str, Any], **source: Any) -> None:
        """Make a Dataset that stands as a status says."""
        spec = {"source": source or {"upload": {}}}
        self.cluster.api.create(an_object(dataset.KIND, name, spec=spec), self.namespace)
        self.write_status(dataset.KIND, name, status)

    def write_status(self, kind: str, name: str, status: dict[str, Any]) -> Object:
        """Write an object's status as the operator does."""
        path = self.cluster.api.path(names.API_VERSION, kind, self.namespace, name) + "/status"
        answer: Object = self.cluster.api.request("PATCH", path, {"status": status}, "application/merge-patch+json")
        return answer


def a_condition(kind: Condition, status: str, reason: str, message: str = "") -> dict[str, str]:
    """Return a condition as a status holds it."""
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": NOW}


def a_state(state: State, message: str = "", *others: dict[str, str], **status: Any) -> dict[str, Any]:
    """Return the status of a job in some state."""
    is_ready = state in {State.AWAITING_SELECTION, State.FINALIZED}
    ready = a_condition(Condition.READY, "True" if is_ready else "False", state, message)
    return {"observedGeneration": 1, "conditions": [ready, *others], "runIdentity": SHA, **status}


def a_checkpoint(step: int, state: str = "Available", **more: Any) -> dict[str, Any]:
    """Return a checkpoint's row of a status."""
    row = {"name": f"step-{step:06d}", "step": step, "bytes": BIG, "sha256": SHA, "samples": 4, "state": state}
    return {**row, "heldOutLoss": "0.1234", **more}


def furnish(desk: Desk) -> None:
    """Make a job in every state that a person meets, and two datasets."""
    rows = [a_checkpoint(500), a_checkpoint(1000, best=True), a_checkpoint(1500)]
    desk.make_job("teapot", a_state(State.AWAITING_SELECTION, "choose", checkpoints=rows))
    desk.make_job("untouched")
    desk.make_job("young", a_state(State.TRAINING, "step 10", progress={"step": 10, "totalSteps": 2000, "percent": 0}))
    desk.make_job("paused", a_state(State.SUSPENDED, "suspended by the user", checkpoints=rows[:1]), suspend=True)
    why = "the GPU's memory did not suffice for one picture: lower tuning.resolution in a new TrainingJob"
    failed = a_condition(Condition.FAILED, "True", Reason.OUT_OF_MEMORY, why)
    desk.make_job("broken", a_state(State.FAILED, why, failed, checkpoints=rows[:1]))
    desk.make_job("wrong", a_state(State.INVALID, "there is no TrainingTemplate obejct in this cluster"))
    model = {"name": "tkxw-teapot-step-001000-01234567", "checkpoint": "step-001000", "sha256": SHA, "bytes": BIG}
    key = f"{desk.namespace}/models/tkxw-teapot/done-01234567/{model['name']}.safetensors"
    kept = [a_checkpoint(500, "Deleted"), a_checkpoint(1000, "Published")]
    desk.make_job(
        "done",
        a_state(State.FINALIZED, "1 published", checkpoints=kept, models=[{**model, "key": key}]),
        selection={"checkpoints": ["step-001000"], "finalize": True},
    )
    ready = a_condition(Condition.READY, "True", DatasetState.INSPECTED, "24 pictures")
    counts = {"revision": SHA, "items": 24, "captioned": 24, "bytes": BIG, "picturesPerPass": 24}
    report = f"{desk.namespace}/datasets/teapots/revisions/{SHA}.json"
    both = ["ConceptModel", "Embedding"]
    desk.make_dataset("teapots", {"conditions": [ready], **counts, "usableFor": both, "reportKey": report})
    desk.make_dataset("silent", {"conditions": [ready], **counts, "captioned": 0, "usableFor": ["Embedding"]})


def write_kubeconfig(cluster: Cluster, path: Path, **changes: str) -> Path:
    """Write the administrator's kubeconfig with changes to its cluster. Returns its path."""
    document = json.loads(cluster.kubeconfig.read_text())
    document["clusters"][0]["cluster"].update(changes)
    path.write_text(json.dumps(document))
    return path
