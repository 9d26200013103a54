"""No log, event, status, refusal or table holds a caption, a prompt or a Secret's value.

One short journey with a canary in each: pictures are pushed, a model trained, chosen, published and installed, a second
run fails, and some things are typed wrongly. Then everything that was said on the way is searched.

What may hold prompts, because it is their owner's own page: an object's spec (`-o yaml`, the YAML that `create`
prints), the rows of `status.resolved` that repeat it beside it, and the sheets of sample pictures. Those are not
searched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier_contract import dataset, names, training_job
from atelier_contract.reasons import State
from atelier_playground.api import wait_for
from atelier_playground.cluster import SYSTEM_NAMESPACE, Cluster
from atelier_playground.welcome import write_kubeconfig
from fake_invokeai import FakeInvokeAi
from journey import TEAPOTS, Room, read_state
from plugin import Answer, Terminal

pytestmark = pytest.mark.cluster

CAPTION = "canarycaption"
PROMPT = "canaryprompt"
TOKEN = "canarytoken-3f9d"
OWNERS = ("validation.prompts", "validation.negativePrompt")
"""Rows of `status.resolved` that repeat what the spec of the same object says to the same readers."""
TOO_LONG = 501
"""Characters of a prompt that is refused."""


@pytest.fixture(scope="module")
def room(home: Cluster) -> Iterator[Room]:
    """A namespace with a store, the tiny base model, and a token for InvokeAI."""
    room = Room(home, "canaries")
    room.furnish()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "invoke"},
        "stringData": {names.KEY_INVOKEAI_TOKEN: TOKEN},
    }
    home.api.apply(secret, room.name)
    yield room
    home.api.delete("v1", "Namespace", room.name)


@pytest.fixture(scope="module")
def said(room: Room, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything that was said on a journey, by where."""
    folder = tmp_path_factory.mktemp("canaries")
    fill_folder(folder / "teapots")
    kubeconfig = write_kubeconfig(room.home.kubeconfig, room.name, folder / "kubeconfig")
    terminal = Terminal(folder, kubeconfig)
    server = FakeInvokeAi(folder / "invokeai", token=TOKEN)
    try:
        typed = dict(walk(room, terminal, server))
    finally:
        server.stop()
    return {**typed, **listen(room)}


def fill_folder(folder: Path) -> None:
    """Lay out pictures whose captions hold the canary, good ones and bad ones."""
    shutil.copytree(TEAPOTS, folder)
    for path in folder.glob("*.txt"):
        path.write_text(f"{CAPTION}, {path.read_text()}")
    (folder / "teapot-01.txt").write_bytes(f"{CAPTION} ".encode() + b"\xff\xfe\x00")
    (folder / "teapot-02.txt").write_text(f"{CAPTION} " * 200)
    (folder / "orphan.txt").write_text(f"{CAPTION} of nothing")


def walk(room: Room, terminal: Terminal, server: FakeInvokeAi) -> Iterator[tuple[str, str]]:
    """Do what people do, and yield what each command printed."""

    def type_words(*words: str) -> tuple[str, str]:
        answer: Answer = terminal.type(*words)
        assert "Traceback" not in answer.everything, answer.everything
        return " ".join(words), answer.everything

    yield type_words("dataset", "check", "teapots")
    (terminal.folder / "teapots" / "teapot-01.txt").write_text(f"{CAPTION}, a teapot")
    yield type_words("dataset", "push", "teapots", "--wait")
    yield type_words("dataset", "show-report", "teapots")
    yield type_words("dataset", "list", "-o", "wide")
    prompts = [f"{PROMPT} teapot on a red background"]
    validation = {"prompts": prompts, "negativePrompt": PROMPT, "samplerSteps": 2, "guidance": 3}
    publish = {"invokeAI": {"url": server.url, "credentialsSecretRef": {"name": "invoke"}}}
    room.apply_job(steps=4, checkpoints={"everySteps": 2}, validation=validation, publish=publish)
    base = {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/missing"}}}
    room.apply_job("broken", validation=validation, baseModel=base)
    yield type_words("watch", "teapot")
    yield type_words("logs", "teapot")
    for verb in ("describe", "checkpoints", "samples", "explain-failure"):
        yield type_words(verb, "teapot")
    yield type_words("compare", "teapot/2", "teapot/4")
    yield type_words("list", "-o", "wide")
    yield type_words("select", "teapot", "2")
    yield type_words("finalize", "teapot", "--yes")
    room.wait_state(State.FINALIZED)
    yield type_words("download", "teapot", "--to", "models")
    yield type_words("describe", "teapot")
    wait_for(lambda: read_state(room.get_status("broken")) == State.FAILED, "broken has failed", 180)
    for verb in ("describe", "explain-failure", "watch", "logs"):
        yield type_words(verb, "broken")
    yield type_words("clone", "teapot", "long", "--prompt", PROMPT * TOO_LONG)
    yield type_words("clone", "teapot", "odd", "--set", f"validation.prompts={PROMPT}")


def listen(room: Room) -> dict[str, str]:
    """Return what the cluster says: logs, events, statuses."""
    api = room.home.api
    said = {}
    for namespace in (room.name, SYSTEM_NAMESPACE):
        for pod in api.list("v1", "Pod", namespace):
            name = pod["metadata"]["name"]
            said[f"log of pod {name}"] = api.read_logs(namespace, name)
            said[f"status of pod {name}"] = json.dumps(pod["status"])
        for event in api.list("v1", "Event", namespace):
            said[f"event {event['metadata']['name']}"] = json.dumps(event)
        for job in api.list("batch/v1", "Job", namespace):
            said[f"status of Job {job['metadata']['name']}"] = json.dumps(job.get("status"))
    for kind in (dataset.KIND, training_job.KIND):
        for body in api.list(names.API_VERSION, kind, room.name):
            status = dict(body.get("status") or {})
            status["resolved"] = [row for row in status.get("resolved") or [] if row["name"] not in OWNERS]
            said[f"status of {kind} {body['metadata']['name']}"] = json.dumps(status)
    return said


def test_something_was_said(said: dict[str, str]) -> None:
    """The search looks at tables, at logs of several pods, at events and at statuses."""
    kinds = ("log of pod", "event", "status of pod", "status of Dataset", "status of TrainingJob", "describe", "logs")
    assert not [kind for kind in kinds if not any(where.startswith(kind) and text for where, text in said.items())]


@pytest.mark.parametrize("canary", [CAPTION, PROMPT, TOKEN, "the store's key"])
def test_nothing_leaks(said: dict[str, str], room: Room, canary: str) -> None:
    """A caption, a prompt, a token or the store's key is nowhere in what was said."""
    searched = room.home.store.secret_key if canary == "the store's key" else canary
    assert not [
        f"{where}: {text[max(0, text.find(searched) - 80) :][:200]}" for where, text in said.items() if searched in text
    ]
