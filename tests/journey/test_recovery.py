"""What a lost process, pod, node or store costs: time, and nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from atelier_contract.reasons import State
from atelier_playground.api import wait_for
from atelier_playground.cluster import SYSTEM_NAMESPACE
from atelier_playground.s3 import FlakyProxy
from journey import RUN_SECONDS, Room, describe, read_last, read_state

pytestmark = pytest.mark.cluster

OPERATOR_KILLS = 10
LONG: dict[str, Any] = {"steps": 160, "checkpoints": {"everySteps": 40}}
"""A run long enough to be disturbed between its first checkpoint and its end."""
LATE_STEP = 50
"""A step of such a run that lies behind its first checkpoint, and well before its end."""
STEPS_OF_KILLS = 800
"""Long enough for ten kills, restarts and looks between them."""


def finish(room: Room, name: str) -> str:
    """Wait for a run's end and return the digest of its last model file."""
    status = room.wait_state(State.AWAITING_SELECTION, name=name, timeout_seconds=2 * RUN_SECONDS)
    return read_last(status).sha256[:16]


def test_a_killed_trainer_ends_with_the_same_weights(room: Room):
    """Kill -9 at a random step, another cadence of checkpoints, and no disturbance at all: bit-equal final weights."""
    room.apply_dataset()
    room.apply_job("calm", **LONG)
    calm = finish(room, "calm")

    room.apply_job("rare", runId="rare", **LONG | {"checkpoints": {"everySteps": 1000}})
    rare = finish(room, "rare")

    room.apply_job("killed", runId="killed", **LONG)
    step = random.Random().randint(LATE_STEP, 2 * LATE_STEP)
    reached = room.wait_step(step, "killed")
    first = room.kill_trainer("killed")
    killed = finish(room, "killed")
    status = room.get_status("killed")

    attempts = status.attempts or []
    assert attempts[0].id == first
    assert len(attempts) == 2, describe(status)
    assert attempts[1].from_step > 0, f"killed at {reached}: {describe(status)}"
    assert (rare, killed) == (calm, calm)


def test_a_killed_operator_neither_stops_nor_repeats_a_run(room: Room):
    """Kill -9 of the operator at ten random moments: one pod, one attempt, no step twice, the usual end."""
    room.apply_dataset()
    room.apply_job(steps=STEPS_OF_KILLS, checkpoints={"everySteps": STEPS_OF_KILLS // 4})
    # Half of them at once and half after another look: together they take about a third of the run.
    looks = [0, 1] * (OPERATOR_KILLS // 2)
    random.Random().shuffle(looks)
    for count in looks:
        assert read_state(room.get_status()) != State.AWAITING_SELECTION, "the run ended before all kills"
        pod = find_operator(room)
        machine = room.home.find_machine(pod)
        uid = pod["metadata"]["uid"]
        container = pod["spec"]["containers"][0]["name"]
        program = wait_for(lambda m=machine, u=uid, c=container: m.find_program(u, c), "the operator runs", 60)
        assert machine.kill_program(uid, container)
        wait_for(
            lambda m=machine, u=uid, c=container, p=program: m.find_program(u, c) not in (None, p),
            "the operator runs again",
            60,
        )
        wait_for_looks(room, count)
        assert len(room.list_jobs()) <= 1
        assert len(room.list_pods()) <= 1
    status = room.wait_state(State.AWAITING_SELECTION, timeout_seconds=2 * RUN_SECONDS)
    quarter = STEPS_OF_KILLS // 4
    assert [row.step for row in status.checkpoints or ()] == [quarter, 2 * quarter, 3 * quarter, 4 * quarter]
    assert len(status.attempts or ()) == 1, describe(status)
    assert (status.attempts or [])[0].from_step == 0


def find_operator(room: Room) -> dict:
    """Return the operator's pod."""
    pods = room.home.api.list("v1", "Pod", SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator")
    assert len(pods) == 1, [pod["metadata"]["name"] for pod in pods]
    return pods[0]


def wait_for_looks(room: Room, count: int) -> None:
    """Wait until the operator has written the run's status some more times, or the run is over."""
    version = room.get_job()["metadata"]["resourceVersion"]
    for _ in range(count):

        def changed(old: str = version) -> bool:
            body = room.get_job()
            over = read_state(room.get_status()) == State.AWAITING_SELECTION
            return over or body["metadata"]["resourceVersion"] != old

        wait_for(changed, "the operator writes status again", RUN_SECONDS, lambda: describe(room.get_status()))
        version = room.get_job()["metadata"]["resourceVersion"]


def test_a_store_that_answers_503_for_a_while_loses_nothing(room: Room):
    """While the bucket refuses, training goes on; afterwards every checkpoint is whole in the store."""
    with FlakyProxy(room.home.store.endpoint) as proxy:
        quiet = Room(room.home, f"{room.name}-proxied", proxy.endpoint)
        quiet.furnish()
        quiet.apply_dataset()
        quiet.apply_job(**LONG)
        at = quiet.wait_step(5)
        proxy.fail()
        later = quiet.wait_step(at + LATE_STEP)
        assert later > at
        proxy.recover()
        status = quiet.wait_state(State.AWAITING_SELECTION)
        assert proxy.refused > 0
        assert [row.step for row in status.checkpoints or ()] == [40, 80, 120, 160]
        keys = quiet.list_keys()
        manifests = [key for key in keys if key.endswith("/checkpoint.json")]
        assert len({key.split("/")[-2] for key in manifests}) == 5  # step 0 and four
        quiet.home.api.delete("v1", "Namespace", quiet.name)


def test_a_lost_node_costs_no_retry(room: Room):
    """A node that falls silent is given up; the run goes on elsewhere from its state and ends as usual."""
    room.apply_dataset()
    spare = room.home.machines.get("spare-1") or room.home.join("spare-1")
    pod = {"nodeSelector": {"kubernetes.io/hostname": "spare-1"}}
    room.apply_job("moved", runId="moved", pod=pod, **LONG)
    room.wait_step(LATE_STEP, "moved")
    spare.crash()
    room.home.machines.pop("spare-1")
    room.home.join("spare-1")
    moved = finish(room, "moved")
    status = room.get_status("moved")
    assert len(status.attempts or ()) == 2, describe(status)
    room.apply_job("calm", **LONG)
    assert moved == finish(room, "calm")


def test_suspend_gives_the_gpu_back_and_resume_goes_on(room: Room):
    """A suspended run has no pod; resumed, it goes on from its state and ends as usual."""
    room.apply_dataset()
    room.apply_job(**LONG)
    room.wait_step(LATE_STEP)
    room.patch_job("teapot", {"suspend": True})
    room.wait_state(State.SUSPENDED)
    wait_for(lambda: not room.list_pods(), "no training pod is left", RUN_SECONDS)
    room.patch_job("teapot", {"suspend": False})
    status = room.wait_state(State.AWAITING_SELECTION)
    assert (status.attempts or [])[-1].from_step > 0, describe(status)
    assert read_last(status).step == 160


def test_stop_keeps_the_current_step(room: Room):
    """Stop ends the run with a checkpoint of the step it was at."""
    room.apply_dataset()
    room.apply_job(steps=4000, checkpoints={"everySteps": 4000})
    room.wait_step(3)
    room.patch_job("teapot", {"stop": True})
    status = room.wait_state(State.AWAITING_SELECTION)
    assert 3 <= read_last(status).step < 4000
    assert len(status.checkpoints or ()) == 1


def test_deletion_policy_delete_takes_the_run_and_leaves_models(room: Room):
    """Deleting a job with policy Delete removes its checkpoints from the store; published models stay."""
    room.apply_dataset()
    room.apply_job(steps=20, deletionPolicy="Delete")
    room.wait_state(State.AWAITING_SELECTION)
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000010"], "finalize": True}})
    room.wait_state(State.FINALIZED)
    models = {key for key in room.list_keys() if "/models/" in key}
    room.home.kubectl("delete", "trainingjob", "teapot", "-n", room.name, "--wait=true", "--timeout=120s")
    left = room.list_keys()
    assert not [key for key in left if "/runs/teapot/" in key]
    assert models
    assert models <= set(left)
