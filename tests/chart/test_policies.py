"""What the API server lets the operator's account do: its own Jobs, and nothing that a thief would want."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import names
from atelier_playground.api import Api, wait_for
from atelier_playground.cluster import TRAINER_IMAGE, Cluster
from atelier_playground.errors import ApiError
from contract_examples import a_spec, an_object
from installed import a_job, log_in

pytestmark = pytest.mark.cluster

DIGEST = "@sha256:" + "0" * 64


@pytest.fixture
def room(installed: Cluster, namespace: str) -> str:
    """A user's namespace on a cluster with the chart."""
    return namespace


@pytest.mark.parametrize("image", [f"{TRAINER_IMAGE}:0.1.0", f"{TRAINER_IMAGE}:0.0.9", TRAINER_IMAGE + DIGEST])
def test_own_job_is_taken(as_operator: Api, room: str, image: str) -> None:
    """The operator creates its Jobs, of this release's image and of the one before."""
    as_operator.create(a_job(image=image), room)


SECRET = {"secretName": "foreign"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "foreign image": ({"image": "docker.io/evil/miner:1"}, "trainer image"),
    "namesake image": ({"image": f"{TRAINER_IMAGE}-evil:1"}, "trainer image"),
    "second container": (
        {"pod": {"initContainers": [{"name": "x", "image": "busybox", "securityContext": {}}]}},
        "trainer image",
    ),
    "host network": ({"pod": {"hostNetwork": True}}, "host's network"),
    "host processes": ({"pod": {"hostPID": True}}, "host's network"),
    "host path": ({"pod": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}}, "volumes must be"),
    "token by volume": (
        {"pod": {"volumes": [{"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}},
        "volumes must be",
    ),
    "token by default": ({"pod": {"automountServiceAccountToken": True}}, "automountServiceAccountToken"),
    "root": ({"pod": {"securityContext": {"runAsUser": 0}}}, "non-root"),
    "container as root": ({"securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False}}, "non-root"),
    "raised privileges": (
        {"securityContext": {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["ALL"]}}},
        "drop all capabilities",
    ),
    "capability": (
        {
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
            }
        },
        "drop all capabilities",
    ),
    "whole Secret": ({"pod": {"volumes": [{"name": "x", "secret": SECRET}]}}, "fixed keys"),
    "foreign key": (
        {"pod": {"volumes": [{"name": "x", "secret": {**SECRET, "items": [{"key": "password", "path": "p"}]}}]}},
        "fixed keys",
    ),
    "Secret in the environment": (
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "foreign", "key": "bucket"}}}]},
        "environment must hold",
    ),
    "whole Secret in the environment": ({"envFrom": [{"secretRef": {"name": "foreign"}}]}, "environment must hold"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_foreign_job_is_refused(as_operator: Api, room: str, case: str) -> None:
    """A Job that the operator would never make is refused by the API server, in words."""
    changes, words = REFUSED[case]
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy") as refused:
        as_operator.create(a_job(**changes), room)
    assert words in str(refused.value)


@pytest.mark.parametrize("where", ["Job", "pod"])
def test_job_without_our_label_is_refused(as_operator: Api, room: str, where: str) -> None:
    """What the operator makes can always be told from what others make."""
    job = a_job()
    metadata = job["metadata"] if where == "Job" else job["spec"]["template"]["metadata"]
    metadata["labels"] = {"app": "x"}
    with pytest.raises(ApiError, match="managed-by: atelier"):
        as_operator.create(job, room)


def test_job_of_others_is_not_deleted(installed: Cluster, as_operator: Api, room: str) -> None:
    """The operator's right to delete Jobs ends at its own."""
    foreign = a_job("backup")
    foreign["metadata"]["labels"] = {"app": "backup"}
    installed.api.create(foreign, room)
    with pytest.raises(ApiError, match="may touch only objects"):
        as_operator.delete("batch/v1", "Job", "backup", room)


def test_own_job_is_deleted(as_operator: Api, room: str) -> None:
    """The operator deletes its own Jobs."""
    as_operator.create(a_job(), room)
    as_operator.delete("batch/v1", "Job", "teapot-train-1", room)


def test_config_map_of_others_is_not_changed(installed: Cluster, as_operator: Api, room: str) -> None:
    """The operator's right to change ConfigMaps ends at its own, and a label cannot be put on first."""
    installed.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}}, room)
    change = {"data": {"x": "y"}, "metadata": {"labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY}}}
    with pytest.raises(ApiError, match="may touch only objects"):
        as_operator.patch("v1", "ConfigMap", "app", change, room)


def test_others_are_not_limited(installed: Cluster, room: str) -> None:
    """The policies are about the operator's account alone."""
    job = a_job(image="busybox")
    job["metadata"]["labels"] = {}
    installed.api.create(job, room)


def test_operator_cannot_read_secrets(as_operator: Api, room: str) -> None:
    """The store's keys are mounted into pods and never seen by the operator."""
    with pytest.raises(ApiError, match="403"):
        as_operator.get("v1", "Secret", names.STORE_SECRET, room)
    with pytest.raises(ApiError, match="403"):
        as_operator.list("v1", "Secret", room)


def be(role: str, cluster: Cluster, room: str, folder: Path) -> Api:
    """Return the API server as an account that holds one of the cluster's own roles in a namespace."""
    subject = f"--serviceaccount={room}:default"
    cluster.kubectl("create", "rolebinding", "person", "-n", room, f"--clusterrole={role}", subject)
    return log_in(cluster, room, "default", folder)


def test_editors_create_training_jobs(installed: Cluster, room: str, tmp_path: Path) -> None:
    """Who may edit a namespace may create TrainingJobs there."""
    person = be("edit", installed, room, tmp_path)
    wait_for(lambda: can_create(person, room), "the role edit has our rule")


def test_viewers_only_look(installed: Cluster, room: str, tmp_path: Path) -> None:
    """Who may view a namespace sees TrainingJobs and templates, and creates nothing."""
    person = be("view", installed, room, tmp_path)
    wait_for(lambda: can_list(person, room), "the role view has our rule")
    with pytest.raises(ApiError, match="403"):
        person.create(an_object(spec=a_spec()), room)


def can_create(person: Api, room: str) -> bool:
    """Whether a TrainingJob can be created: roles are aggregated a moment after the chart is installed."""
    return is_allowed(lambda: person.create(an_object(spec=a_spec()), room))


def can_list(person: Api, room: str) -> bool:
    """Whether TrainingJobs and templates can be listed."""
    jobs = is_allowed(lambda: person.list(names.API_VERSION, "TrainingJob", room))
    return jobs and is_allowed(lambda: person.list(names.API_VERSION, "TrainingTemplate"))


def is_allowed(call: Callable[[], object]) -> bool:
    """Whether a call is not forbidden; any other refusal is raised."""
    try:
        call()
    except ApiError as error:
        if error.status == 403:
            return False
        raise
    return True
