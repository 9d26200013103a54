"""Runs over several pods on the real API server: what the operator makes is taken, and Kubernetes makes pods of it."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract import names
from atelier_operator.model import CreateJob
from atelier_playground.api import Api, wait_for
from atelier_playground.cluster import TRAINER_IMAGE, Cluster
from atelier_playground.errors import ApiError
from operator_builders import a_spec, a_surroundings, a_view, created
from plan_stages import after_preflight, look_at

pytestmark = pytest.mark.cluster


@pytest.fixture
def room(installed: Cluster, namespace: str) -> str:
    """A user's namespace on a cluster with the chart."""
    return namespace


@pytest.fixture
def pair() -> CreateJob:
    """The training child of a run over two pods, with the image that the chart's policy admits."""
    surroundings = a_surroundings(trainer_image=f"{TRAINER_IMAGE}:0.1.0")
    view = a_view(a_spec(pod={"gpus": 0, "nodes": 2}), surroundings=surroundings)
    return created(after_preflight(look_at(view)).plan)[0]


def place(body: dict[str, Any], room: str) -> dict[str, Any]:
    """The body as it is made in a namespace, without an owner: there is none on this cluster."""
    metadata = {**body["metadata"], "namespace": room}
    metadata.pop("ownerReferences")
    return {**body, "metadata": metadata}


def test_indexed_job_becomes_pods_that_find_each_other(
    installed: Cluster, as_operator: Api, room: str, pair: CreateJob
) -> None:
    """Under the operator's own account: two pods, numbered in their environment, with the host names they are told."""
    assert pair.service is not None
    as_operator.create(place(pair.service, room), room)
    job = as_operator.create(place(pair.job, room), room)
    wait_for(lambda: len(installed.api.list("v1", "Pod", room)) == 2, "both pods are made")
    pods = sorted(installed.api.list("v1", "Pod", room), key=lambda pod: str(pod["spec"]["hostname"]))
    name = job["metadata"]["name"]
    assert [pod["spec"]["hostname"] for pod in pods] == [f"{name}-0", f"{name}-1"]
    assert {pod["spec"]["subdomain"] for pod in pods} == {pair.service["metadata"]["name"]}
    assert [pod["metadata"]["annotations"][names.ANNOTATION_COMPLETION_INDEX] for pod in pods] == ["0", "1"]
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        environment = {entry["name"] for entry in container["env"]}
        assert {names.ENV_NODE_INDEX, names.ENV_NODES, names.ENV_LEADER_ADDRESS} <= environment


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "with an address": ({"clusterIP": ""}, "headless"),
    "beyond the cluster": ({"clusterIP": None, "type": "ExternalName", "externalName": "evil.example"}, "headless"),
    "on a node's port": ({"clusterIP": "", "type": "NodePort"}, "headless"),
    "foreign addresses": ({"externalIPs": ["192.0.2.1"]}, "headless"),
    "foreign pods": ({"selector": {"app": "bank"}}, "managed-by: atelier"),
    "no pods": ({"selector": None}, "managed-by: atelier"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_foreign_service_is_refused(as_operator: Api, room: str, pair: CreateJob, case: str) -> None:
    """A Service that the operator would never make is refused by the API server, in words."""
    assert pair.service is not None
    changes, words = REFUSED[case]
    service = place(pair.service, room)
    spec = {**service["spec"], **changes}
    service["spec"] = {key: value for key, value in spec.items() if value is not None}
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy") as refused:
        as_operator.create(service, room)
    assert words in str(refused.value)


def test_service_of_others_is_not_the_operators(installed: Cluster, as_operator: Api, room: str) -> None:
    """The operator can neither list nor delete Services."""
    with pytest.raises(ApiError, match="403"):
        as_operator.list("v1", "Service", room)
    with pytest.raises(ApiError, match="403"):
        as_operator.delete("v1", "Service", "teapot-train", room)
