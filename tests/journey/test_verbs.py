"""The verbs that steer a run, by a normal person with the plugin alone, against the real operator and trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atelier_playground.api import wait_for
from journey import RUN_SECONDS, Room, read_state
from person import Person, welcome_person

pytestmark = pytest.mark.cluster
LONG = 2000
"""Steps that nobody waits for: the run is stopped long before."""


@pytest.fixture
def person(room: Room, tmp_path: Path) -> Person:
    """A person with the role `edit` in a room with a dataset."""
    room.apply_dataset()
    return welcome_person(room.home, room.name, tmp_path)


def test_a_run_is_suspended_resumed_stopped_and_gone_on_from(person: Person, room: Room):
    """A long run pauses, goes on from its state, ends with what it has, and another one starts from there."""
    quick = ("--every-steps", "100", "--set", "tuning.resolution=64", "--set", "validation.samplerSteps=2")
    base = ("--architecture", "StableDiffusion1", "--base-model", "base-models/tiny")
    person.type(
        *("create", "concept-model", "teapot", "--dataset", "teapots", "--model-name", "TKXW teapot", *base),
        *("--caption-prefix", "TKXW", "--learning-rate", "0.001", "--steps", str(LONG), *quick, "-o", "name"),
    )
    room.wait_step(5)
    log = person.type("logs", "teapot", "--tail", "5")
    assert "teapot-train-1" in log.err
    assert log.out.strip()
    assert "nothing is wrong with teapot" in person.type("explain-failure", "teapot").out

    person.type("suspend", "teapot")
    wait_for(lambda: read_state(room.get_status()) == "Suspended", "the run is suspended", RUN_SECONDS)
    assert "already" in person.type("suspend", "teapot").out
    person.type("resume", "teapot")
    room.wait_step(10)
    person.type("stop", "teapot")
    assert "AwaitingSelection" in person.type("watch", "teapot").out
    status = room.get_status()
    assert next(attempt.reason for attempt in status.attempts or ()) in {"Suspended", "Interrupted"}
    assert (status.attempts or [])[-1].from_step > 0
    person.type("stop", "teapot", code=2)

    last = (status.checkpoints or [])[-1].name
    assert last != f"step-{LONG:06d}"
    person.type("clone", "teapot", "further", "--start-from", last, "--steps", "10", "--every-steps", "10")
    assert "AwaitingSelection" in person.type("watch", "further").out
    assert person.type("select", "further", "--last", "--dry-run", "server").out.startswith("selected: step-000010")
    assert room.get_status("further").kept == "0/1"


def test_a_failure_is_explained_and_tried_again(person: Person, room: Room):
    """A run without its base model fails before a GPU is asked for; explained, mended and tried again it trains."""
    person.type(
        *("create", "concept-model", "teapot", "--dataset", "teapots", "--model-name", "TKXW teapot"),
        *("--architecture", "StableDiffusion1", "--base-model", "base-models/late", "--learning-rate", "0.001"),
        *("--steps", "10", "--set", "tuning.resolution=64", "--set", "validation.samplerSteps=2"),
    )
    assert "Failed: no base model lies at" in person.type("watch", "teapot", code=1).out
    told = person.type("explain-failure", "teapot").out
    assert told.startswith("teapot has failed: BaseModelUnusable\n")
    assert "teapot-preflight-1" in told
    assert "what to do: put the base model where the job looks for it" in told
    listed = json.loads(person.type("list", "-o", "json").out)
    assert [body["metadata"]["name"] for body in listed["items"]] == ["teapot"]
    person.type("resume", "teapot", code=2)

    for key in room.list_keys():
        source = room.key("base-models", "tiny")
        if key.startswith(source + "/"):
            copied = {"Bucket": "atelier", "Key": key}
            room.home.open_bucket().copy(copied, room.key("base-models", "late") + key.removeprefix(source))
    person.type("retry", "teapot")
    assert "AwaitingSelection" in person.type("watch", "teapot").out
