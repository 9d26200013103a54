"""Which pod's log is printed, and when a log can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.roles import Role
from atelier_studio.cli import following
from atelier_studio.cli.following import await_start, choose_pod
from atelier_studio.errors import BadRequest, ClusterRefused


def a_pod(phase: str = "Pending", **state: Any) -> dict[str, Any]:
    containers = [{"name": names.CONTAINER, "state": state}] if state else []
    return {
        "metadata": {"name": "teapot-train-1", "labels": {names.LABEL_ROLE: Role.TRAIN}},
        "spec": {},
        "status": {"phase": phase, "containerStatuses": containers},
    }


WAITS_FOR_A_NODE = a_pod()
PULLS_ITS_IMAGE = a_pod(waiting={"reason": "ContainerCreating"})
RUNS = a_pod("Running", running={})
HAS_ENDED = a_pod("Succeeded", terminated={"exitCode": 0})
WAS_NEVER_PLACED = a_pod("Failed")


class FakeCluster:
    """A namespace whose pod is another at each look. As a real one, it answers an empty log before there is any."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self.left: Iterator[dict[str, Any]] = iter(looks)
        self.seen: dict[str, Any] | None = None

    def get(self, kind: object, name: str) -> dict[str, Any]:
        return {}

    def pods(self, job: str) -> list[dict[str, Any]]:
        self.seen = next(self.left, None)
        return [self.seen] if self.seen else []

    def pod_log(self, pod: str, *, follow: bool, tail_lines: int | None) -> Iterator[str]:
        yield from ["step 1"] if self.seen is RUNS else []


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only sleeping moves on."""
    now = [0.0]
    time = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(following, "time", time)
    return now


def test_a_log_that_is_followed_is_not_empty(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`logs -f` on a pod that waits for a GPU prints what the pod says once it runs."""
    monkeypatch.setattr(following, "Cluster", lambda *_: FakeCluster(WAITS_FOR_A_NODE, RUNS))
    following.logs("teapot", follow=True)
    assert capsys.readouterr().out == "step 1\n"


@pytest.mark.parametrize("waiting", [WAITS_FOR_A_NODE, PULLS_ITS_IMAGE])
@pytest.mark.parametrize("begun", [RUNS, HAS_ENDED, WAS_NEVER_PLACED])
def test_a_log_is_followed_once_there_is_one(clock: list[float], waiting: dict[str, Any], begun: dict[str, Any]):
    """A pod that has not started is looked at again until it has, or never will."""
    await_start(FakeCluster(waiting, begun), "teapot", waiting)
    assert clock == [2.0]


def test_what_runs_is_followed_at_once(clock: list[float]):
    """A pod that runs is not waited for."""
    await_start(FakeCluster(), "teapot", RUNS)
    assert clock == [0.0]


def test_waiting_has_an_end():
    """A pod that never starts is not waited for without end, and the sentence says where the reason stands."""
    looks = (WAITS_FOR_A_NODE for _ in range(2 * following.START_SECONDS))
    with pytest.raises(ClusterRefused, match="has not started for 10 minutes: `kubectl atelier describe teapot`"):
        await_start(FakeCluster(*looks), "teapot", WAITS_FOR_A_NODE)


def test_a_pod_that_goes_away_is_told():
    """A pod that is deleted while it is waited for ends the waiting."""
    with pytest.raises(BadRequest, match="has no pod teapot-train-1"):
        await_start(FakeCluster(), "teapot", WAITS_FOR_A_NODE)


@pytest.mark.parametrize(
    ("asked", "option"), [({"role": None, "previous": True}, "--previous"), ({"role": Role.TRAIN}, "--role")]
)
def test_a_pod_is_chosen_in_one_way(asked: dict[str, Any], option: str):
    """What would have no effect beside a pod's name is refused."""
    with pytest.raises(BadRequest, match=f"names one pod already: leave {option} out"):
        choose_pod("teapot", [RUNS], name="teapot-train-1", **{"previous": False, **asked})
