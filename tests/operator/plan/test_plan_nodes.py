"""Runs over several GPUs and pods: what is created for them, and how several pods make one state."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TrainResult
from atelier_operator.model import CreateJob, ObservedPod
from atelier_operator.plan.names import name_ordinal
from operator_builders import (
    UID,
    a_meta,
    a_pending_pod,
    a_pod,
    a_report,
    a_spec,
    a_view,
    an_ended_pod,
    condition_of,
    later,
)
from plan_stages import Stage, at_training, job_of, look_at, training_child

TWO = {"gpus": 4, "nodes": 2}


def state_of(stage: Stage) -> str:
    """The state word that the plan writes."""
    return condition_of(stage.plan, Condition.READY).reason


def pair() -> CreateJob:
    """The training child of a run over two pods of four GPUs."""
    return training_child(a_spec(pod=TWO))


def environment(child: CreateJob) -> dict[str, Any]:
    """The plain values of the container's environment."""
    (container,) = child.job["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_several_gpus_are_several_processes() -> None:
    """A pod with four GPUs is told to train in four processes; it is one pod, and no Service is made."""
    child = training_child(a_spec(pod={"gpus": 4}))
    assert environment(child)[names.ENV_PROCESSES] == "4"
    assert names.ENV_NODES not in environment(child)
    assert (child.job["spec"]["completions"], child.service) == (1, None)


def test_one_gpu_is_as_before() -> None:
    """A pod with one GPU is told nothing of processes, and its Job is not indexed."""
    child = training_child()
    assert not {names.ENV_PROCESSES, names.ENV_NODES, names.ENV_LEADER_ADDRESS} & set(environment(child))
    assert "completionMode" not in child.job["spec"]
    assert "subdomain" not in child.job["spec"]["template"]["spec"]


def test_several_nodes_are_an_indexed_job() -> None:
    """Two nodes are two pods at once, each with a number of its own."""
    spec = pair().job["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (2, 2, "Indexed")


def test_pods_find_the_first_by_name() -> None:
    """The address that pods are given is the first pod's host name in the Service that is made with the Job."""
    child = pair()
    assert child.service is not None
    service, job = child.service["metadata"]["name"], child.job["metadata"]["name"]
    assert child.job["spec"]["template"]["spec"]["subdomain"] == service
    told = environment(child)
    assert told[names.ENV_LEADER_ADDRESS] == f"{job}-0.{service}"
    assert (told[names.ENV_LEADER_PORT], told[names.ENV_NODES]) == (str(names.LEADER_PORT), "2")


def test_service_names_pods_that_are_not_ready() -> None:
    """The Service is headless, the object's own, selects its training pods alone, and does not wait for readiness."""
    service = pair().service
    assert service is not None
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    labels = pair().job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["selector"][names.LABEL_OWNER_UID] == UID
    (owner,) = service["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["blockOwnerDeletion"]) == (UID, False)


def test_pods_of_one_run_may_talk() -> None:
    """The NetworkPolicy of a run over two pods admits its own training pods, and else the operator as ever."""
    policy = pair().network_policy
    assert policy is not None
    operator, peers = policy["spec"]["ingress"]
    assert operator["ports"] == [{"protocol": "TCP", "port": names.PROGRESS_PORT}]
    assert peers == {"from": [{"podSelector": policy["spec"]["podSelector"]}]}


def test_host_names_fit() -> None:
    """The longest name that an object may have still makes host names of at most 63 characters."""
    assert len(f"{name_ordinal('t' * names.MAX_NAME_LENGTH, Role.TRAIN, 999)}-15") <= 63


@pytest.mark.parametrize("name", ["teapot.v2", "3d-teapot"])
def test_name_that_makes_no_host_name_is_invalid(name: str) -> None:
    """A name with dots or a digit first is refused where pods must find each other, and only there."""
    several = look_at(a_view(a_spec(pod={"nodes": 2}), meta=a_meta(name=name)))
    assert state_of(several) == "Invalid"
    assert "begins with a letter" in condition_of(several.plan, Condition.READY).message
    assert state_of(look_at(a_view(meta=a_meta(name=name)))) != "Invalid"


def running(*pods: ObservedPod, **changes: Any) -> Stage:
    """The run over two pods, with its pods."""
    stage = at_training(a_spec(pod=TWO))
    return stage.then(jobs=(*stage.view.jobs, job_of(pair(), *pods, **changes)))


def test_progress_is_asked_of_the_first_pod() -> None:
    """Of two running pods the one of index 0 is asked, whichever began last."""
    stage = running(a_pod("first"), a_pod("second", index=1, created_at=later(5)))
    assert stage.plan.ask_pod is not None
    assert stage.plan.ask_pod.name == "first"


def test_run_waits_until_all_pods_run() -> None:
    """A run whose second pod has no node is Scheduling, and says which pod waits."""
    stage = running(a_pod("first"), a_pending_pod("second", index=1))
    assert state_of(stage) == "Scheduling"
    assert "pod second waits for a node" in condition_of(stage.plan, Condition.READY).message


def test_attempts_are_counted_by_the_first_pod() -> None:
    """Two pods that train together are one attempt, named after the first."""
    stage = running(a_pod("first"), a_pod("second", index=1))
    attempts = stage.plan.status.attempts or []
    assert [row.id for row in attempts] == ["first-uid"]


def test_cause_is_told_and_not_its_echo() -> None:
    """Where one pod failed and the other only lost its peer, the run fails with the reason of the one."""
    diverged = an_ended_pod("second", code=14, index=1, report=a_report(Role.TRAIN, Reason.DIVERGED, message="nan"))
    echo = an_ended_pod("first", code=31, report=a_report(Role.TRAIN, Reason.PEER_LOST), created_at=later(1))
    stage = running(echo, diverged, failed=True)
    failed = condition_of(stage.plan, Condition.FAILED)
    assert (failed.status, failed.reason) == ("True", Reason.DIVERGED)


def test_run_is_complete_by_the_word_of_the_first_pod() -> None:
    """The result is the leader's: another pod may have the last word and knows no checkpoints."""
    first = TrainResult(attempt="first-uid", to_step=100, complete=True)
    second = TrainResult(attempt="second-uid", to_step=99, complete=True)
    stage = running(
        an_ended_pod("first", report=a_report(Role.TRAIN, Reason.TRAINING_COMPLETE, train=first)),
        an_ended_pod(
            "second",
            index=1,
            created_at=later(1),
            report=a_report(Role.TRAIN, Reason.TRAINING_COMPLETE, train=second),
        ),
        complete=True,
    )
    assert "trained to step 100" in condition_of(stage.plan, Condition.COMPLETE).message
