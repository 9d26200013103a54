"""How several processes end: together and at the same step, whoever is told; and what becomes of those left alone.

Every pod here is the real container's command with its own folders, on one store; two pods find each other on loopback.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import TrainingInput
from atelier_contract.reasons import Reason
from atelier_contract.termination import TrainResult
from atelier_materials.store.checkpoints import list_checkpoints, list_states
from atelier_playground.processes import choose_port
from atelier_trainer.edges.home import Home
from forked_pods import PATIENCE_SECONDS, Nursery, end_pair, run_pod
from learning import build_settings
from trainer_pod import IDENTITY, UPLOAD, Tenant, TrainerPod, put_teapots

ENDLESS = {
    "steps": 20_000,
    "everySteps": 20_000,
    "validation": {"samplerSteps": 1, "prompts": ["a star"], "heldOut": "none"},
}
"""More steps than any machine does before it is told to end."""


@dataclass
class RunningPod:
    """A pod's process and its folders."""

    pod: TrainerPod
    pid: int
    log: Path
    nursery: Nursery

    def send(self, signal_number: int) -> None:
        """Signal the container's first process, as the kubelet does."""
        os.kill(self.pid, signal_number)

    def list_processes(self) -> list[int]:
        """Return the processes that it has started to train."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def has_ended(self) -> bool:
        """Return whether the container has ended, and nobody has asked for its exit code yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(self) -> ExitCode | int:
        """Return the container's exit code once it has ended."""
        return self.nursery.wait(self.pid)

    @property
    def result(self) -> TrainResult:
        """What the last words say of training."""
        found = self.pod.last_words.train
        assert found is not None
        return found


@dataclass
class Team:
    """A tenant with a dataset, and the pods of its run."""

    tenant: Tenant
    nursery: Nursery
    asked: TrainingInput

    def start(self, pod: TrainerPod | None = None, **environment: str) -> RunningPod:
        """Start a pod."""
        pod = pod or self.tenant.pod()
        pod.tell(self.asked)
        log = pod.root / "log"
        no_compiler = {"PATH": "/nonexistent"}  # compiling takes a minute, and these runs are over in one
        pid = self.nursery.fork(run_pod, {**no_compiler, **pod.environment, **environment}, log)
        return RunningPod(pod, pid, log, self.nursery)

    def start_pair(self, second: TrainerPod | None = None) -> tuple[RunningPod, RunningPod]:
        """Start two pods that train together, one process each."""
        told = {
            names.ENV_NODES: "2",
            names.ENV_LEADER_ADDRESS: "127.0.0.1",
            names.ENV_LEADER_PORT: str(choose_port()),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        first = self.start(**told, **{names.ENV_NODE_INDEX: "0"})
        return first, self.start(second, **told, **{names.ENV_NODE_INDEX: "1"})

    @property
    def home(self) -> Home:
        """The store."""
        return Home(self.tenant.store, self.tenant.layout)

    def checkpoints(self) -> list[int]:
        """Steps of the whole checkpoints in the store."""
        return [
            one.manifest.step for one in list_checkpoints(self.home.store, self.tenant.layout.run("teapot", IDENTITY))
        ]

    def states(self) -> list[int]:
        """Steps of the whole states in the store."""
        return [one.manifest.step for one in list_states(self.home.store, self.tenant.layout.run("teapot", IDENTITY))]


@pytest.fixture
def team(volume_tenant: Tenant, nursery: Nursery) -> Team:
    """A run that goes on until it is told to end."""
    asked = volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD, settings=build_settings(**ENDLESS))
    return Team(volume_tenant, nursery, asked)


def wait_until(is_so: Callable[[], bool], pods: tuple[RunningPod, ...]) -> None:
    """Wait for a fact; a pod's log is shown where it does not come."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until or any(pod.has_ended() for pod in pods):
            raise TimeoutError(read_log(*pods))
        time.sleep(0.05)  # nothing tells when another process is so far


def wait_for_training(team: Team, *pods: RunningPod) -> None:
    """Wait until step 0 is kept: from then on nothing but steps is done."""
    wait_until(lambda: team.checkpoints() == [0], pods)


def read_log(*pods: RunningPod) -> str:
    """The pods' logs, for the message of a test that fails."""
    return "\n".join(pod.log.read_text() for pod in pods)


@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_either_pod_ends_both_at_one_step(team: Team, told: int) -> None:
    """Whichever pod is asked to go, both end with 30 at the same step, whose state is whole."""
    pods = team.start_pair()
    wait_for_training(team, *pods)
    pods[told].send(signal.SIGTERM)
    assert [pod.wait() for pod in pods] == [ExitCode.INTERRUPTED] * 2, read_log(*pods)
    steps = [pod.result.to_step for pod in pods]
    assert steps[0] == steps[1]
    assert team.states() == [steps[0]]


def test_stop_seen_by_one_pod_ends_both(team: Team) -> None:
    """A stop that has reached the second pod's files alone ends both at one step, with its checkpoint."""
    second = team.tenant.pod()
    pods = team.start_pair(second)
    wait_for_training(team, *pods)
    second.stop()
    assert [pod.wait() for pod in pods] == [ExitCode.DONE] * 2, read_log(*pods)
    steps = [pod.result.to_step for pod in pods]
    assert steps[0] == steps[1]
    assert team.checkpoints() == [0, steps[0]]
    assert pods[0].pod.last_words.reason == Reason.STOPPED_EARLY


@pytest.mark.parametrize("told", [0, 1])
@pytest.mark.parametrize("what", ["stop", "leave"])
def test_what_one_is_told_while_it_prepares_ends_both(nursery: Nursery, tmp_path: Path, told: int, what: str) -> None:
    """A stop or SIGTERM that one process alone sees before the first step ends both alike, with nothing trained."""
    assert nursery.wait(nursery.fork(end_pair, tmp_path, told, what)) == 0
    ends = json.loads((tmp_path / "ends.json").read_text())
    assert ends == [[what == "leave", what == "stop", 0]] * 2


@pytest.mark.parametrize("lost", [0, 1])
def test_pod_whose_peer_is_killed_ends_with_31(team: Team, lost: int) -> None:
    """A pod left alone ends with 31 and says why; what is in the store is whole, and nothing is half there."""
    pods = team.start_pair()
    wait_for_training(team, *pods)
    (trainer,) = pods[lost].list_processes()
    pods[lost].send(signal.SIGKILL)
    os.kill(trainer, signal.SIGKILL)
    assert pods[1 - lost].wait() == ExitCode.PEER_LOST, read_log(*pods)
    assert pods[1 - lost].pod.last_words.reason == Reason.PEER_LOST
    assert (team.checkpoints(), team.states()) == ([0], [])
    pods[lost].wait()


def test_killed_process_ends_its_pod_and_not_as_done(team: Team) -> None:
    """Within a pod the death of one process ends the others too; it is counted, and named in the one message."""
    pod = team.start(**{names.ENV_PROCESSES: "2"})
    wait_for_training(team, pod)
    os.kill(pod.list_processes()[1], signal.SIGKILL)
    assert pod.wait() == ExitCode.BUG, read_log(pod)
    words = pod.pod.last_words
    assert "process 1 of 2 was ended by signal 9" in words.message
    assert [row[0] for row in words.rows] == [0]
    assert "rank 0 ended with 31" in pod.log.read_text()


def test_pod_of_two_processes_is_interrupted_and_goes_on(team: Team) -> None:
    """SIGTERM to the container reaches both processes; the next pod goes on from the state, and one process may too."""
    pod = team.start(**{names.ENV_PROCESSES: "2"})
    wait_for_training(team, pod)
    pod.send(signal.SIGTERM)
    assert pod.wait() == ExitCode.INTERRUPTED, read_log(pod)
    assert team.states() == [pod.result.to_step]
    second = team.tenant.pod()
    second.stop()
    after = team.start(second, **{names.ENV_PROCESSES: "2"})
    assert after.wait() == ExitCode.DONE, read_log(after)
    assert (after.result.from_step, after.result.stopped_early) == (pod.result.to_step, True)
