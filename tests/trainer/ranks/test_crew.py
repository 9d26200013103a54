"""Whose ending is the pod's, how long a pod stays for the leader's, and what each pod is told of the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import FAILING, ExitCode
from atelier_contract.manifests import OutcomeManifest
from atelier_materials.store.documents import write_document
from atelier_trainer.commands.attempt import Attempt
from atelier_trainer.commands.crew import OUTCOME_SECONDS, WORST_FIRST, wait_for_outcome
from atelier_trainer.edges.home import Home
from atelier_trainer.errors import PeerLost, PodTerminated
from atelier_trainer.settings import Crew, read_settings
from trainer_pod import IDENTITY, Tenant

PAIR = {
    names.ENV_PROCESSES: "4",
    names.ENV_NODES: "2",
    names.ENV_NODE_INDEX: "1",
    names.ENV_LEADER_ADDRESS: "teapot-train-1-0.teapot-train",
    names.ENV_LEADER_PORT: "29500",
}


@pytest.fixture
def attempt(volume_tenant: Tenant) -> Attempt:
    """An attempt in a pod that does not lead."""
    layout = volume_tenant.layout
    return Attempt(Home(volume_tenant.store, layout), layout.run("teapot", IDENTITY), "second")


def pass_time(seconds: float) -> Iterator[float]:
    """Moments that lie so far apart."""
    now = 0.0
    while True:
        yield now
        now += seconds


def test_every_exit_code_has_its_rank() -> None:
    """No ending is unknown to the choice of the worst."""
    assert sorted(WORST_FIRST) == sorted(ExitCode)


def test_cause_outranks_its_echoes() -> None:
    """What the user must mend comes before a crash, a crash before a lost peer, and any of them before an end."""
    order = [WORST_FIRST.index(code) for code in (*FAILING, ExitCode.BUG, ExitCode.PEER_LOST, ExitCode.DONE)]
    assert order == sorted(order)


def test_pod_stays_until_the_end_is_stored(attempt: Attempt) -> None:
    """Another pod leaves once the leader's has stored the run's end, and not before."""
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            write_document(attempt.home.store, attempt.run.outcome, OutcomeManifest(stopped_early=False, last_step=6))

    wait_for_outcome(attempt, lambda: False, pause=pause)
    assert len(looks) == 3


def test_pod_that_must_go_does_not_stay(attempt: Attempt) -> None:
    """SIGTERM ends the wait; the pod will be started again."""
    with pytest.raises(PodTerminated):
        wait_for_outcome(attempt, lambda: True)


def test_pod_does_not_stay_for_ever(attempt: Attempt) -> None:
    """Where the end is never stored, the pod ends as one whose peer is lost, so that all begin again."""
    moments = pass_time(OUTCOME_SECONDS)
    with pytest.raises(PeerLost):
        wait_for_outcome(attempt, lambda: False, clock=lambda: next(moments), pause=lambda _: None)


def test_pod_knows_its_crew() -> None:
    """The environment that the operator and Kubernetes set says how many train and where the first is."""
    crew = read_settings(PAIR).crew
    assert crew == Crew(processes=4, nodes=2, node_index=1, leader_address="teapot-train-1-0.teapot-train:29500")
    assert (crew.is_alone, crew.leads) == (False, False)


def test_pod_of_its_own_is_alone() -> None:
    """Without any of it a pod is one process, whatever index some other Job's environment has."""
    crew = read_settings({names.ENV_NODE_INDEX: "3"}).crew
    assert (crew.is_alone, crew.leads) == (True, True)
