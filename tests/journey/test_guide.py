"""The guide's walk, by a normal person with the plugin alone: from a folder of pictures to a model in diffusers.

Everything that is typed and printed is kept in build/guide/transcript.txt.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from atelier_contract.training_job import KIND
from atelier_playground.api import Object
from atelier_playground.cluster import CHECKOUT
from journey import BASE_MODEL, TEAPOTS, Room
from person import Person, welcome_person

pytestmark = pytest.mark.cluster
RECORD = CHECKOUT / "build" / "guide" / "transcript.txt"
ENTER, DOWN, UP = "\r", "\x1b[B", "\x1b[A"
CONCEPT_STEPS, WORD_STEPS, EVERY = 40, 20, 10

LOAD = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32, safety_checker=None)
pipe.load_lora_weights(sys.argv[2])
pipe.load_textual_inversion(sys.argv[3], token="<tkxw>")
picture = pipe("TKXW a teapot", num_inference_steps=2, height=64, width=64, output_type="np").images[0]
print(pipe.get_active_adapters(), "<tkxw>" in pipe.tokenizer.get_added_vocab(), picture.shape, picture.std() > 0)
"""


@pytest.fixture
def person(room: Room, tmp_path: Path) -> Iterator[Person]:
    """A person with the role `edit` in the room; what they typed is kept, also of a walk that failed."""
    ada = welcome_person(room.home, room.name, tmp_path)
    yield ada
    ada.write_record(RECORD)


def read_job(person: Person, name: str) -> Object:
    """Return a job as `describe -o json` prints it, without adding to the record."""
    said = Person(person.kubeconfig, person.folder).type("describe", name, "-o", "json")
    body: Object = json.loads(said.out)
    assert body["kind"] == KIND
    return body


def test_the_guide_from_a_folder_to_two_models(person: Person, room: Room):
    """A person with `edit` alone pushes, trains both types from one dataset, reviews, selects, publishes, downloads."""
    name_and_push_a_dataset(person)
    create_both_types(person)
    watch_and_review(person)
    select_and_finalize(person, room)
    files = download_both(person)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, str(BASE_MODEL), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "['default_0'] True (64, 64, 3) True"


def name_and_push_a_dataset(person: Person) -> None:
    """Step 1 of the guide: a name, a description, a folder."""
    shutil.copytree(TEAPOTS, person.folder / "pictures")
    said = person.type(
        "dataset", "push", "pictures", "--name", "teapots", "--description", "Studio pictures of a teapot", "--wait"
    )
    assert "12" in said.out + said.err
    listed = person.type("dataset", "list").out
    assert re.search(r"^teapots +Inspected", listed, re.MULTILINE), listed


def create_both_types(person: Person) -> None:
    """Step 3: a concept model by options, an embedding by answering questions, from the same dataset."""
    quick = ("--every-steps", str(EVERY), "--set", "tuning.resolution=64", "--set", "validation.samplerSteps=4")
    base = ("--architecture", "StableDiffusion1", "--base-model", "base-models/tiny")
    said = person.type(
        *("create", "concept-model", "teapot", "--dataset", "teapots", "--model-name", "TKXW teapot", *base),
        *("--caption-prefix", "TKXW", "--learning-rate", "1e-3", "--steps", str(CONCEPT_STEPS), *quick),
        *("--prompt", "a teapot on a red background", "--set", "retention.graceSeconds=0"),
    )
    assert "learningRate: 0.001\n" in said.out
    answers = [
        ("What do you want to train?", DOWN + ENTER),
        ("Dataset", ENTER),
        ("Model name", "TKXW word" + ENTER),
        ("Name of the job", ENTER),
        ("Architecture", ENTER),
        ("Base model", ENTER),
        ("Template", UP + ENTER),
        ("Initial phrase", "star" + ENTER),
        ("Learning rate", ENTER),
        ("Training steps", str(WORD_STEPS) + ENTER),
        ("Begin training?", ENTER),
    ]
    shown = person.type_at_terminal(
        *("create", *quick, "--placeholder", "<tkxw>", "--set", "retention.graceSeconds=0"), answers=answers
    ).out
    assert "tkxw-word is created" in shown
    spec = read_job(person, "tkxw-word")["spec"]
    assert spec["embedding"] == {"initialPhrase": "star", "placeholder": "<tkxw>"}
    assert "templateRef" not in spec


def watch_and_review(person: Person) -> None:
    """Steps 4 and 5: follow both runs, one line by line and one live, then look at what came out."""
    said = person.type("watch", "teapot").out
    assert "checkpoint step-000040" in said
    assert "AwaitingSelection" in said
    live = person.type_at_terminal("watch", "tkxw-word").out
    assert "AwaitingSelection" in live
    table = person.type("checkpoints", "teapot").out
    assert [line.split()[0] for line in table.splitlines()[1:]] == [f"step-0000{step}" for step in (10, 20, 30, 40)]
    person.type("samples", "teapot", "--sheet", "sheet.png")
    with Image.open(person.folder / "sheet.png") as picture:
        assert picture.width > picture.height > 64  # one prompt by the base and four steps
    told = person.type("describe", "teapot").out
    assert 'a concept model "TKXW teapot"' in told
    assert "next: kubectl atelier samples teapot" in told
    assert "teapot" in person.type("list").out


def select_and_finalize(person: Person, room: Room) -> None:
    """Step 5: keep two checkpoints of one run and the last of the other; the rest is deleted."""
    person.type("select", "teapot", "20", "40")
    asked = person.type("finalize", "teapot", "--yes")
    assert "2 of 4 checkpoints will be published" in asked.err
    person.type("watch", "teapot")
    person.type("select", "tkxw-word", "--last")
    person.type_at_terminal("finalize", "tkxw-word", answers=[("Finalize?", "y" + ENTER)])
    person.type("watch", "tkxw-word")
    status = read_job(person, "teapot")["status"]
    assert [row["state"] for row in status["checkpoints"]] == ["Deleted", "Published", "Deleted", "Published"]
    left = "\n".join(room.list_keys())
    run = room.layout.run("teapot", status["runIdentity"]).key()
    gone = ("step-000010", "step-000030")
    assert not [name for name in gone if re.search(f"{re.escape(run)}/.*checkpoints/{name}/", left)]


def download_both(person: Person) -> list[Path]:
    """Bring the models here; each file is the one that was recorded."""
    person.type("download", "teapot", "--to", "models")
    person.type("download", "tkxw-word", "--to", "models")
    found = []
    for job in ("teapot", "tkxw-word"):
        model = read_job(person, job)["status"]["models"][-1]
        path = person.folder / "models" / Path(model["key"]).name
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(model["sha256"])
        found.append(path)
    return found
