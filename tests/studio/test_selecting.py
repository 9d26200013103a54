"""Selecting and finalizing as a person types it, where somebody else decides about the same job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from typer.testing import CliRunner

from atelier_contract.reasons import Condition, State
from atelier_studio.cli import selecting
from atelier_studio.cli.main import app
from atelier_studio.errors import BadRequest, ChangedMeanwhile, ClusterRefused
from published_run import build_body

NAMES = ("step-000002", "step-000004")


def a_job(*selected: str) -> dict[str, Any]:
    """Return a job that waits for a selection."""
    body = build_body([])
    body["spec"]["selection"] = {"checkpoints": list(selected)}
    ready = {"type": Condition.READY, "status": "True", "reason": State.AWAITING_SELECTION, "message": "choose"}
    rows = [
        {"name": name, "step": int(name[5:]), "bytes": 1, "sha256": "a" * 64, "state": "Selected"} for name in NAMES
    ]
    body["status"] |= {"conditions": [{**ready, "lastTransitionTime": "2026-11-23T08:00:00Z"}], "checkpoints": rows}
    return body


@dataclass
class BusyCluster:
    """A cluster whose job is another one at each look, until the last; only who saw the last one may change it.

    Attributes:
        looks: the job as it is at each look.
        patches: what was written.
    """

    looks: list[dict[str, Any]]
    patches: list[dict[str, Any]] = field(default_factory=list)

    def get(self, *_: object) -> dict[str, Any]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def patch(
        self, _kind: object, _name: str, patch: dict[str, Any], *, dry_run: bool, seen: dict[str, Any]
    ) -> dict[str, Any]:
        if seen is not self.looks[0]:
            raise ChangedMeanwhile("the object has been modified")
        self.patches.append(patch)
        return seen


def run(monkeypatch: pytest.MonkeyPatch, cluster: BusyCluster, *words: str) -> Any:
    monkeypatch.setattr(selecting, "Cluster", lambda *_: cluster)
    return CliRunner().invoke(app, [*words])


def test_what_was_shown_is_finalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody else decides, the selection is written with the wish to finalize it."""
    cluster = BusyCluster([a_job(NAMES[0])])
    assert run(monkeypatch, cluster, "finalize", "teapot", "--yes").exit_code == 0
    assert cluster.patches == [{"spec": {"selection": {"checkpoints": [NAMES[0]], "finalize": True}}}]


def test_a_job_that_only_reported_meanwhile_is_finalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has changed since, but not in its selection, is finalized all the same."""
    cluster = BusyCluster([a_job(NAMES[0]), a_job(NAMES[0])])
    assert run(monkeypatch, cluster, "finalize", "teapot", "--yes").exit_code == 0
    assert cluster.patches == [{"spec": {"selection": {"checkpoints": [NAMES[0]], "finalize": True}}}]


def test_what_another_selects_meanwhile_is_not_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that somebody selects while the question stands is not deleted for it: nothing is written."""
    cluster = BusyCluster([a_job(NAMES[0]), a_job(*NAMES)])
    refused = run(monkeypatch, cluster, "finalize", "teapot", "--yes").exception
    assert isinstance(refused, BadRequest)
    assert "somebody has changed the selection of teapot meanwhile" in str(refused)
    assert cluster.patches == []


def test_two_who_select_at_once_both_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else selects between a look and the change stays selected beside one's own."""
    cluster = BusyCluster([a_job(), a_job(NAMES[0])])
    assert run(monkeypatch, cluster, "select", "teapot", NAMES[1]).exit_code == 0
    assert cluster.patches == [{"spec": {"selection": {"checkpoints": [*NAMES]}}}]


def test_a_job_that_never_rests_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a job has changed before each of five tries, nothing is written, and a sentence says so."""
    cluster = BusyCluster([a_job() for _ in range(selecting.MOST_TRIES + 1)])
    refused = run(monkeypatch, cluster, "select", "teapot", NAMES[1]).exception
    assert isinstance(refused, ClusterRefused)
    assert "teapot has changed 5 times" in str(refused)
    assert cluster.patches == []
