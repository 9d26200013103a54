"""A cluster with Atelier installed, for the journeys, and the few sentences in which journeys are told.

One cluster serves all journeys: the operator runs as its Deployment's pod under its own account, installed by the
chart. Each journey has a namespace of its own with a store, the tiny base model and the sample dataset in it.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import dataset, names, training_job
from atelier_contract.layout import NamespaceLayout
from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Condition, State
from atelier_contract.roles import Role
from atelier_contract.training_job_status import CheckpointStatus, TrainingJobStatus
from atelier_playground.api import Object, wait_for
from atelier_playground.cluster import CHECKOUT, SYSTEM_NAMESPACE, Cluster, Plan
from atelier_playground.controlplane import Patience
from atelier_playground.errors import ApiError

BASE_MODEL = CHECKOUT / "playground" / "base-model" / "weights"
TEAPOTS = CHECKOUT / "playground" / "datasets" / "teapots"
PREFIX = "atelier"
MODEL_NAME = "TKXW teapot"
OVER = (State.AWAITING_SELECTION, State.FINALIZED, State.FAILED, State.INVALID)
RUN_SECONDS = 300
"""How long a journey waits for a run of some tens of steps on two busy cores."""


@pytest.fixture(scope="session")
def home() -> Iterator[Cluster]:
    """A running cluster with Atelier installed."""
    plan = Plan(
        patience=Patience(node_grace_seconds=20, eviction_seconds=2), restart_seconds=0.02, spare_nodes=("spare-1",)
    )
    with Cluster(plan, report=print) as cluster:
        cluster.install_operator()
        yield cluster
        keep_operator_log(cluster)


def keep_operator_log(cluster: Cluster) -> None:
    """Write the operator's log to build/journeys, for whoever looks into a failure."""
    folder = CHECKOUT / "build" / "journeys"
    folder.mkdir(parents=True, exist_ok=True)
    for pod in cluster.api.list("v1", "Pod", SYSTEM_NAMESPACE):
        name = pod["metadata"]["name"]
        with suppress(ApiError):  # a pod that is just going or coming has none
            (folder / f"{name}.log").write_text(cluster.api.read_logs(SYSTEM_NAMESPACE, name))


@pytest.fixture
def room(home: Cluster, request: pytest.FixtureRequest) -> Iterator[Room]:
    """A user's namespace with store, base model and sample dataset; deleted afterwards."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    # Cases of one test differ only at the end of their names, which the cut takes away.
    name = f"{words[:36].strip('-')}-{hashlib.sha256(words.encode()).hexdigest()[:6]}"
    room = Room(home, name)
    room.furnish()
    yield room
    home.api.delete("v1", "Namespace", name)


@dataclass
class Room:
    """One user's namespace."""

    home: Cluster
    name: str
    endpoint: str | None = None
    seen: dict[str, set[str]] = field(default_factory=dict)

    def furnish(self) -> None:
        """Make the namespace and put base model and pictures into its store."""
        self.home.make_user_namespace(self.name, self.endpoint)
        self.home.upload_folder(BASE_MODEL, self.key("base-models", "tiny"))
        self.home.upload_folder(TEAPOTS, f"{PREFIX}/{self.name}/pictures/teapots")

    @property
    def layout(self) -> NamespaceLayout:
        """Keys of this namespace's store."""
        return NamespaceLayout(self.name, PREFIX)

    def key(self, *parts: str) -> str:
        """Return a key below this namespace."""
        return self.layout.key(*parts)

    def list_keys(self) -> dict[str, int]:
        """Return every key of this namespace's store with its size."""
        objects = self.home.open_bucket().objects.filter(Prefix=f"{PREFIX}/{self.name}/")
        return {one.key: one.size for one in objects}

    def read(self, key: str) -> bytes:
        """Return an object's bytes by the key that a status names, which is below the store's prefix."""
        data: bytes = self.home.open_bucket().Object(f"{PREFIX}/{key}").get()["Body"].read()
        return data

    # Datasets

    def apply_dataset(self, name: str = "teapots", folder: str = "teapots", **source: Any) -> Object:
        """Apply a Dataset over a folder of the bucket."""
        uri = f"s3://atelier/{PREFIX}/{self.name}/pictures/{folder}"
        spec = {"description": "a striped teapot", "source": source or {"s3": {"uri": uri}}}
        return self.apply(dataset.KIND, name, spec)

    # TrainingJobs

    def apply_job(self, name: str = "teapot", **changes: Any) -> Object:
        """Apply a TrainingJob of forty quick steps, with changes to its spec (None leaves a field out)."""
        return self.apply(training_job.KIND, name, build_spec(**changes))

    def apply(self, kind: str, name: str, spec: Object) -> Object:
        """Apply an object of ours."""
        document = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return self.home.api.apply(document, self.name)

    def patch_job(self, name: str, spec: Object) -> None:
        """Merge a change into a TrainingJob's spec."""
        self.home.api.patch(names.API_VERSION, training_job.KIND, name, {"spec": spec}, self.name)

    def get_job(self, name: str = "teapot") -> Object:
        """Read a TrainingJob."""
        return self.home.api.get(names.API_VERSION, training_job.KIND, name, self.name)

    def get_status(self, name: str = "teapot") -> TrainingJobStatus:
        """Read a TrainingJob's status."""
        return TrainingJobStatus.model_validate(self.get_job(name).get("status") or {})

    def wait_state(
        self, *states: State, name: str = "teapot", timeout_seconds: float = RUN_SECONDS
    ) -> TrainingJobStatus:
        """Wait until a TrainingJob is in one of some states.

        Fails at once in a state that nothing but a person leaves.
        """

        def is_there() -> TrainingJobStatus | None:
            status = self.get_status(name)
            state = read_state(status)
            if state in states:
                return status
            assert state not in (State.FAILED, State.INVALID), describe(status)
            return None

        what = f"{self.name}/{name} is {' or '.join(states)}"
        status: TrainingJobStatus = wait_for(is_there, what, timeout_seconds, lambda: describe(self.get_status(name)))
        return status

    def wait_step(self, step: int, name: str = "teapot") -> int:
        """Wait until a run has done some steps, by what its pod says: status is some seconds behind."""

        def reached() -> int:
            for pod in self.list_pods(name):
                done = ask_step(pod)
                if done >= step:
                    return done
            return 0

        found: int = wait_for(reached, f"{name} at step {step}", RUN_SECONDS, lambda: describe(self.get_status(name)))
        return found

    def list_jobs(self, name: str = "teapot", role: Role = Role.TRAIN) -> list[Object]:
        """List the child Jobs of a TrainingJob of one role."""
        selector = f"{names.LABEL_OWNER}={name},{names.LABEL_ROLE}={role}"
        return self.home.api.list("batch/v1", "Job", self.name, selector)

    def list_pods(self, name: str = "teapot", role: Role = Role.TRAIN) -> list[Object]:
        """List the pods of a TrainingJob of one role."""
        selector = f"{names.LABEL_OWNER}={name},{names.LABEL_ROLE}={role}"
        return self.home.api.list("v1", "Pod", self.name, selector)

    def find_training_pod(self, name: str = "teapot") -> Object:
        """Return the running training pod, waiting for it."""

        def running() -> Object | None:
            pods = [pod for pod in self.list_pods(name) if pod["status"].get("phase") == "Running"]
            return pods[0] if pods else None

        pod: Object = wait_for(running, f"{name} has a running pod", RUN_SECONDS)
        return pod

    def kill_trainer(self, name: str = "teapot") -> str:
        """Kill the running trainer as `kill -9` does. Returns the pod's UID."""
        pod = self.find_training_pod(name)
        uid: str = pod["metadata"]["uid"]
        assert self.home.find_machine(pod).kill_program(uid, names.CONTAINER)
        return uid


def ask_step(pod: Object) -> int:
    """Return the steps that a pod has done by its own account; 0 while it does not answer."""
    address = pod["status"].get("podIP")
    if pod["status"].get("phase") != "Running" or not address:
        return 0
    connection = http.client.HTTPConnection(address, names.PROGRESS_PORT, timeout=2)
    try:
        connection.request("GET", names.PROGRESS_PATH)
        return ProgressReport.from_bytes(connection.getresponse().read()).step
    except OSError:
        return 0
    finally:
        connection.close()


def build_spec(**changes: Any) -> Object:
    """Build a TrainingJob's spec of forty quick steps with ten between checkpoints."""
    spec: Object = {
        "modelName": MODEL_NAME,
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {"captionPrefix": "TKXW", "rank": 8},
        "learningRate": 0.003,
        "steps": 40,
        "tuning": {"resolution": 64},
        "checkpoints": {"everySteps": 10},
        "validation": {"prompts": ["a teapot on a red background"], "samplerSteps": 4, "guidance": 3},
        "retention": {"graceSeconds": 0},
    }
    spec.update(changes)
    return {key: value for key, value in spec.items() if value is not None}


def read_condition(status: Any, kind: Condition) -> tuple[str, str, str]:
    """Return status, reason and message of a condition; empty strings while it is not there."""
    for condition in status.conditions:
        if condition.type == kind:
            return condition.status, condition.reason, condition.message
    return "", "", ""


def read_state(status: TrainingJobStatus) -> str:
    """Return the state word of a TrainingJob."""
    return read_condition(status, Condition.READY)[1]


def describe(status: TrainingJobStatus) -> str:
    """Return what a failed wait should show of a status."""
    conditions = "; ".join(f"{c.type}={c.status} {c.reason} {c.message}" for c in status.conditions)
    return f"{conditions} | progress {status.progress} | attempts {status.attempts}"


def read_last(status: TrainingJobStatus) -> CheckpointStatus:
    """Return the last checkpoint of a run."""
    assert status.checkpoints, describe(status)
    return status.checkpoints[-1]


@functools.cache
def read_teapot() -> bytes:
    """Return one of the sample pictures."""
    return next(iter(sorted(Path(TEAPOTS).glob("*.png")))).read_bytes()
