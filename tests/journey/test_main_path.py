"""The main job, end to end, on a real control plane with the real trainer."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from atelier_contract.reasons import State
from atelier_contract.roles import Role
from atelier_playground.api import wait_for
from journey import BASE_MODEL, Room

pytestmark = pytest.mark.cluster

LOAD = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32, safety_checker=None)
if sys.argv[3] == "lora":
    pipe.load_lora_weights(sys.argv[2])
    print(",".join(pipe.get_active_adapters()))
else:
    pipe.load_textual_inversion(sys.argv[2], token="<tkxw>")
    print(len([t for t in pipe.tokenizer.get_added_vocab() if t.startswith("<tkxw>")]))
"""


def load_in_fresh_process(file: Path, kind: str) -> str:
    """Load a published file with diffusers in a new interpreter and return what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(BASE_MODEL), str(file), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_concept_model_from_apply_to_collected(room: Room, tmp_path: Path):
    """A Dataset and a TrainingJob train, wait for a selection, publish it and delete exactly the rest."""
    room.apply_dataset()
    room.apply_job()
    status = room.wait_state(State.AWAITING_SELECTION)
    assert [row.step for row in status.checkpoints or ()] == [10, 20, 30, 40]

    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000020", "step-000040"]}})
    before = room.list_keys()
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000020", "step-000040"], "finalize": True}})
    status = room.wait_state(State.FINALIZED)
    after = room.list_keys()

    run = room.layout.run("teapot", status.run_identity or "")
    gone = {key for key in before if "/checkpoints/step-000010/" in key or "/checkpoints/step-000030/" in key}
    assert gone
    assert set(before) - set(after) == gone
    added = set(after) - set(before)
    assert all("/models/" in key or key == run.final for key in added), added
    assert {key for key in set(before) & set(after) if before[key] != after[key]} == set()
    assert status.reclaimed_bytes == sum(before[key] for key in gone)

    assert [model.checkpoint for model in status.models or ()] == ["step-000020", "step-000040"]
    model = (status.models or [])[-1]
    file = tmp_path / Path(model.key).name
    file.write_bytes(room.read(model.key))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == model.sha256
    assert load_in_fresh_process(file, "lora") == "default_0"


def test_embedding_from_apply_to_published(room: Room, tmp_path: Path):
    """An embedding trains from pictures, is published and loads under its placeholder."""
    room.apply_dataset()
    room.apply_job(
        conceptModel=None, embedding={"initialPhrase": "star", "placeholder": "<tkxw>", "vectors": 4}, steps=10
    )
    room.wait_state(State.AWAITING_SELECTION)
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000010"], "finalize": True}})
    status = room.wait_state(State.FINALIZED)
    model = (status.models or [])[0]
    file = tmp_path / Path(model.key).name
    file.write_bytes(room.read(model.key))
    assert load_in_fresh_process(file, "embedding") == "4"


def test_the_same_yaml_again_trains_nothing(room: Room):
    """Applying a finished job's YAML again, and deleting and creating it again, starts no training."""
    room.apply_dataset()
    room.apply_job(steps=10)
    first = room.wait_state(State.AWAITING_SELECTION)
    jobs = {job["metadata"]["uid"] for job in room.list_jobs()}
    assert len(jobs) == 1

    for _ in range(3):
        room.apply_job(steps=10)
    # Any change wakes the operator; its answer to a selection is the proof that it has looked since.
    room.patch_job("teapot", {"selection": {"checkpoints": ["step-000010"]}})
    wait_for(lambda: room.get_status().kept == "1/1", "the operator has looked again", 60)
    assert {job["metadata"]["uid"] for job in room.list_jobs()} == jobs

    room.home.kubectl("delete", "trainingjob", "teapot", "-n", room.name, "--wait=true")
    room.home.kubectl("wait", "--for=delete", "job", "-n", room.name, "-l", "atelier.dev/role=train", "--timeout=60s")
    room.apply_job(steps=10)
    again = room.wait_state(State.AWAITING_SELECTION)
    assert room.list_jobs(role=Role.TRAIN) == []
    assert again.run_identity == first.run_identity
    assert [row.name for row in again.checkpoints or ()] == [row.name for row in first.checkpoints or ()]
