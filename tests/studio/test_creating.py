"""What `kubectl atelier create` says of what it did, by a cluster that takes everything."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from atelier_studio.cli import creating
from atelier_studio.cli.main import app, run_command
from atelier_studio.errors import Exit

WORDS = "concept-model teapot --model-name Teapot --dataset teapots --architecture StableDiffusion1 --base-model tiny"


class WillingCluster:
    """Has every Dataset asked for, takes every job."""

    namespace = "art"

    def __init__(self, *_: Any) -> None:
        pass

    def get(self, _kind: object, name: str) -> dict[str, Any]:
        ready = {"type": "Ready", "status": "True", "reason": "Inspected", "message": "", "lastTransitionTime": "t"}
        status = {"observedGeneration": 1, "conditions": [ready], "usableFor": ["ConceptModel"]}
        return {"kind": "Dataset", "metadata": {"name": name, "generation": 1}, "status": status}

    def create(self, _kind: object, body: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        return body


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "teapot is created: `kubectl atelier watch teapot` follows it"),
        ("--dry-run=server", "teapot would be created (server dry run: accepted, nothing was changed)"),
    ],
)
def test_a_dry_run_claims_nothing(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was only tried is not said to be there, nor that it can be followed."""
    monkeypatch.setattr(creating, "Cluster", WillingCluster)
    monkeypatch.setattr(sys, "argv", ["kubectl-atelier", "create", *WORDS.split(), *words.split()])
    assert run_command(app) == Exit.DONE
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_the_help_names_arguments_as_people_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name carries the underscore that Python needs beside its own `type`."""
    monkeypatch.setattr(sys, "argv", ["kubectl-atelier", "create", "--help"])
    run_command(app)
    assert "[type] [name]" in capsys.readouterr().out
