"""The whole operator as a process against the real API server: what only a real one can show."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from atelier_contract import names
from atelier_contract.names import OPERATOR_LEASE
from atelier_playground.api import read_conditions, wait_for
from atelier_playground.cluster import CHECKOUT, Cluster
from operator_process import OperatorProcess

pytestmark = pytest.mark.cluster
Start = Callable[..., OperatorProcess]
QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
FAILOVER_SECONDS = 20
"""Promised: a lost operator is replaced within this time."""


@pytest.fixture
def start(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """Starts operators that look after the test's namespace, and ends them."""
    for path in (CHECKOUT / "crds").glob("*.yaml"):
        cluster.api.apply(yaml.safe_load(path.read_text()))
    started: list[OperatorProcess] = []

    def start_one(identity: str = "first") -> OperatorProcess:
        operator = OperatorProcess(cluster.kubeconfig, namespace, identity, tmp_path / f"{identity}.log")
        started.append(operator)
        return operator

    yield start_one
    for operator in started:
        operator.kill()


class Team:
    """The test's namespace, as its users see it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api, self.namespace = cluster.api, namespace

    def make_dataset(self, name: str = "teapots") -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        spec = {"source": {"upload": {}}}
        return self.api.create({"apiVersion": names.API_VERSION, "kind": "Dataset", "metadata": metadata, "spec": spec})

    def read_dataset(self, name: str = "teapots") -> dict[str, Any]:
        return self.api.get(names.API_VERSION, "Dataset", name, self.namespace)

    def list_jobs(self) -> list[dict[str, Any]]:
        return self.api.list("batch/v1", "Job", self.namespace)

    def read_holder(self) -> str:
        return self.api.get("coordination.k8s.io/v1", "Lease", OPERATOR_LEASE, self.namespace)["spec"]["holderIdentity"]

    def find_condition(self, kind: str, status: str) -> dict[str, Any] | None:
        conditions = self.read_dataset().get("status", {}).get("conditions", ())
        return next((c for c in conditions if (c["type"], c["status"]) == (kind, status)), None)


@pytest.fixture
def team(cluster: Cluster, namespace: str) -> Team:
    return Team(cluster, namespace)


def read_probe(operator: OperatorProcess, path: str) -> int:
    """The HTTP status of a probe."""
    try:
        with urllib.request.urlopen(operator.find_address() + path, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_dataset_gets_its_inspection_and_a_state(start: Start, team: Team):
    """From an event to a Job and a status."""
    start()
    team.make_dataset()
    wait_for(team.list_jobs, "the inspection's Job exists")
    wait_for(lambda: team.find_condition("Ready", "False"), "the dataset has a state")


def test_the_users_object_is_left_alone_but_for_its_status(start: Start, team: Team):
    """No annotation, no finalizer, no change of the spec: what is in Git stays what is in the cluster."""
    start()
    made = team.make_dataset()
    wait_for(lambda: team.find_condition("Ready", "False"), "the dataset has a state")
    seen = team.read_dataset()
    assert seen["spec"] == made["spec"]
    for name in ("annotations", "finalizers", "labels", "generation"):
        assert seen["metadata"].get(name) == made["metadata"].get(name)


def test_what_happened_while_the_operator_was_away_is_done_on_its_return(start: Start, team: Team):
    """Losing the operator loses nothing."""
    first = start()
    wait_for(lambda: team.read_holder() == "first", "the operator acts")
    first.kill()
    team.make_dataset()
    start()
    wait_for(team.list_jobs, "the inspection's Job exists")


def test_a_killed_operator_repeats_nothing(start: Start, team: Team):
    """Kill -9 and start again: the same one Job, and the same status to the byte."""
    first = start()
    team.make_dataset()
    wait_for(lambda: team.find_condition("Ready", "False"), "the dataset has a state")
    (job,) = wait_for(team.list_jobs, "the inspection's Job exists")
    first.kill()
    start()
    team.make_dataset("mugs")
    wait_for(lambda: len(team.list_jobs()) == 2, "the returned operator acts")
    assert job["metadata"]["uid"] in {found["metadata"]["uid"] for found in team.list_jobs()}


def test_a_refusal_of_the_api_server_is_shown_and_overcome(start: Start, team: Team):
    """A quota's own words are in the status; when it is lifted the Job is made without anybody's help."""
    team.api.apply({**QUOTA, "spec": {"hard": {"count/jobs.batch": "0"}}}, team.namespace)
    wait_for(
        lambda: team.api.get("v1", "ResourceQuota", "none", team.namespace)["status"].get("hard"), "the quota holds"
    )
    start()
    team.make_dataset()
    stalled = wait_for(lambda: team.find_condition("Stalled", "True"), "the refusal is shown")
    assert "exceeded quota" in stalled["message"]
    team.api.delete("v1", "ResourceQuota", "none", team.namespace)
    wait_for(team.list_jobs, "the inspection's Job exists")


def test_a_namesake_is_shown_and_left_alone(start: Start, team: Team):
    """Somebody else's Job of the name we need is neither used nor deleted; when it goes, ours is made."""
    container = {"name": "c", "image": "x", "command": ["true"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    foreign = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "teapots-inspect-1"}}
    spec = {"suspend": True, "template": {"spec": pod}}
    made = team.api.create({**foreign, "spec": spec}, team.namespace)
    start()
    team.make_dataset()
    stalled = wait_for(lambda: team.find_condition("Stalled", "True"), "the namesake is shown")
    assert "teapots-inspect-1" in stalled["message"]
    assert [job["metadata"]["uid"] for job in team.list_jobs()] == [made["metadata"]["uid"]]
    team.api.delete("batch/v1", "Job", "teapots-inspect-1", team.namespace)
    wait_for(
        lambda: [job for job in team.list_jobs() if job["metadata"]["uid"] != made["metadata"]["uid"]],
        "our own Job takes the name",
    )


def test_a_standby_takes_over_from_a_lost_operator(start: Start, team: Team):
    """Without a word from the first, the second acts within the promised time."""
    first = start("first")
    wait_for(lambda: team.read_holder() == "first", "the first acts")
    second = start("second")
    wait_for(lambda: read_probe(second, names.READY_PATH) == 200, "the second stands by")
    first.kill()
    team.make_dataset()
    wait_for(lambda: team.read_holder() == "second", "the second holds the Lease", FAILOVER_SECONDS)
    wait_for(team.list_jobs, "the second acts")


def test_an_asked_end_gives_the_lease_back(start: Start, team: Team):
    """SIGTERM ends with 0, and the next operator need not wait."""
    first = start()
    wait_for(lambda: team.read_holder() == "first", "the operator acts")
    wait_for(lambda: read_probe(first, names.READY_PATH) == 200, "its cache is filled")
    assert first.stop() == 0
    assert team.read_holder() == ""


def test_an_operator_that_lost_its_lease_ends(start: Start, team: Team):
    """Another's name in the Lease is the end of this one: its Deployment starts it again, as a standby."""
    first = start()
    wait_for(lambda: team.read_holder() == "first", "the operator acts")
    change = {"spec": {"holderIdentity": "another"}}
    team.api.patch("coordination.k8s.io/v1", "Lease", OPERATOR_LEASE, change, team.namespace)
    assert first.wait_for_end() == 1
    assert "held by another" in first.read_log()


def test_a_healthy_operator_says_so(start: Start, team: Team):
    """Both probes answer, and the metrics hold no object's name."""
    operator = start()
    team.make_dataset()
    wait_for(lambda: team.find_condition("Ready", "False"), "the dataset has a state")
    assert read_probe(operator, names.HEALTH_PATH) == read_probe(operator, names.READY_PATH) == 200
    with urllib.request.urlopen(operator.find_address() + names.METRICS_PATH, timeout=5) as answer:
        text = answer.read().decode()
    assert 'atelier_objects{kind="Dataset"' in text
    assert "teapots" not in text
    assert read_conditions(team.read_dataset())
