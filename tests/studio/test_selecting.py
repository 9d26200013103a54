"""Finalizing as a person types it, where somebody else decides about the same job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from typer.testing import CliRunner

from atelier_contract.reasons import Condition, State
from atelier_studio.cli import selecting
from atelier_studio.cli.main import app
from atelier_studio.errors import BadRequest
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
    """A cluster whose job is another one each time it is asked for, until the last."""

    looks: list[dict[str, Any]]
    patches: list[dict[str, Any]] = field(default_factory=list)

    def get(self, *_: object) -> dict[str, Any]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def patch(self, _kind: object, _name: str, patch: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        self.patches.append(patch)
        return self.looks[0]


def finalize(monkeypatch: pytest.MonkeyPatch, cluster: BusyCluster) -> Any:
    monkeypatch.setattr(selecting, "Cluster", lambda *_: cluster)
    return CliRunner().invoke(app, ["finalize", "teapot", "--yes"])


def test_what_was_shown_is_finalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody else decides, the selection is written with the wish to finalize it."""
    cluster = BusyCluster([a_job(NAMES[0])])
    assert finalize(monkeypatch, cluster).exit_code == 0
    assert cluster.patches == [{"spec": {"selection": {"checkpoints": [NAMES[0]], "finalize": True}}}]


def test_what_another_selects_meanwhile_is_not_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that somebody selects while the question stands is not deleted for it: nothing is written."""
    cluster = BusyCluster([a_job(NAMES[0]), a_job(*NAMES)])
    refused = finalize(monkeypatch, cluster).exception
    assert isinstance(refused, BadRequest)
    assert "somebody has changed the selection of teapot meanwhile" in str(refused)
    assert cluster.patches == []
