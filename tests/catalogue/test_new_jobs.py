"""Mistakes when a job is made: what `create` and `clone` answer, at a place where nobody can be asked."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pytest

from desk import Desk
from plugin import assert_refused

pytestmark = pytest.mark.cluster

NOW_NOT = "docs/commands.md#it-cannot-be-done-now"
NO_SUCH = "docs/commands.md#no-such-object"
CAPTIONS = "docs/troubleshooting.md#captionmissing"
TYPED = ""
SOUND = "--model-name 'TKXW teapot' --dataset teapots --architecture StableDiffusion1 --base-model base-models/tiny"
"""Options of a job that would be taken; the mistake is added to it."""


@dataclass(frozen=True)
class Mistake:
    """What was typed, and what must be said: exit code, what is wrong and what to do, where to read on."""

    typed: str
    says: tuple[str, ...]
    page: str = NOW_NOT
    exit_code: int = 2


MISTAKES = {
    "nothing said and nobody to ask": Mistake(
        "create concept-model", ("say also --dataset, --model-name, --architecture, --base-model", "no terminal")
    ),
    "a type that there is not": Mistake(f"create lora teapot-2 {SOUND}", ("'lora' is not one of", "embedding"), TYPED),
    "a family that there is not": Mistake(
        "create concept-model x -m X -d teapots -b base-models/tiny -a SDXL", ("'SDXL' is not one of",), TYPED
    ),
    "a dataset that there is not": Mistake(
        "create concept-model x -m X -d teapot -a StableDiffusion1 -b base-models/tiny",
        ("there is no Dataset teapot in namespace catalogue", "did you mean teapots?"),
        NO_SUCH,
    ),
    "a dataset without captions": Mistake(
        "create concept-model x -m X -d silent -a StableDiffusion1 -b base-models/tiny",
        ("silent cannot be used for a concept model", "24 of its 24 pictures have no caption", "train an embedding"),
        CAPTIONS,
    ),
    "a template that there is not": Mistake(
        f"create concept-model x {SOUND} --template obejct", ("there is no TrainingTemplate obejct", "object"), NO_SUCH
    ),
    "an initial phrase of nine letters": Mistake(
        f"create embedding x {SOUND} --initial-phrase 'old teapot'",
        ("embedding.initialPhrase", "at most 8 characters"),
    ),
    "a placeholder without brackets": Mistake(
        f"create embedding x {SOUND} --initial-phrase teapot --placeholder tkxw", ("embedding.placeholder",)
    ),
    "a caption prefix for an embedding": Mistake(
        f"create embedding x {SOUND} --initial-phrase teapot --caption-prefix TKXW",
        ("captionPrefix belongs to conceptModel", "trains embedding", "leave it out"),
    ),
    "an initial phrase for a concept model": Mistake(
        f"create concept-model x {SOUND} --initial-phrase teapot",
        ("initialPhrase belongs to embedding", "leave it out"),
    ),
    "an embedding for FLUX": Mistake(
        "create embedding x -m X -d teapots -a Flux1 -b base-models/flux --initial-phrase teapot",
        ("embeddings cannot be trained for Flux1", "use conceptModel instead"),
    ),
    "a learning rate in words": Mistake(
        f"create concept-model x {SOUND} --learning-rate slow",
        ("Invalid value for '--learning-rate'", "a valid number"),
        TYPED,
    ),
    "a learning rate with a comma": Mistake(
        f"create concept-model x {SOUND} --learning-rate 0,0001", ("Invalid value for '--learning-rate'",), TYPED
    ),
    "a learning rate of 0": Mistake(
        f"create concept-model x {SOUND} --learning-rate 0", ("learningRate", "greater than 0")
    ),
    "no steps": Mistake(f"create concept-model x {SOUND} --steps 0", ("steps", "greater than or equal to 1")),
    "steps in words": Mistake(
        f"create concept-model x {SOUND} --steps many", ("Invalid value for '--steps'", "a valid integer"), TYPED
    ),
    "a batch too large": Mistake(
        f"create concept-model x {SOUND} --set tuning.batchSize=1000", ("tuning.batchSize", "less than or equal to 256")
    ),
    "a resolution between": Mistake(
        f"create concept-model x {SOUND} --set tuning.resolution=500", ("tuning.resolution", "multiple of 64")
    ),
    "a misspelt field": Mistake(
        f"create concept-model x {SOUND} --set tuning.bachSize=4",
        ("there is no field tuning.bachSize", "did you mean batchSize"),
    ),
    "a setting without a value": Mistake(
        f"create concept-model x {SOUND} --set tuning.resolution", ("is not FIELD=VALUE", "--set tuning.resolution=512")
    ),
    "both types": Mistake(
        f"create concept-model x {SOUND} --set embedding.initialPhrase=teapot",
        ("exactly one of conceptModel", "embedding"),
    ),
    "a base model above the store": Mistake(
        "create concept-model x -m X -d teapots -a StableDiffusion1 -b ../other/model",
        ("baseModel.source.storage.path",),
    ),
    "a branch of the hub": Mistake(
        "create concept-model x -m X -d teapots -a StableDiffusion1 -b hub:owner/name@main",
        ("names no commit", "40 hex digits"),
    ),
    "a name with capitals": Mistake(
        f"create concept-model Teapot {SOUND}",
        ("Teapot cannot be a job's name", "use lower-case letters, digits and dashes", "such as teapot"),
    ),
    "a name of 51 letters": Mistake(
        f"create concept-model {'t' * 51} {SOUND}", ("cannot be a job's name", "at most 50")
    ),
    "a name that is taken": Mistake(
        f"create concept-model teapot {SOUND}",
        ("there is a TrainingJob teapot in namespace catalogue already", "choose another name"),
        "docs/commands.md#the-name-is-taken",
    ),
    "a model's name without a letter": Mistake(
        "create concept-model -m 急須 -d teapots -a StableDiffusion1 -b base-models/tiny",
        ("has no Latin letter or digit", "name the job yourself"),
    ),
    "a clone of what is not there": Mistake(
        "clone teaptot teapot-2", ("there is no TrainingJob teaptot", "did you mean teapot?"), NO_SUCH
    ),
    "a clone from no checkpoint": Mistake(
        "clone teapot teapot-2 --start-from 7", ("step-000007 is no checkpoint of teapot to go on from", "step-001500")
    ),
    "a clone of the same name": Mistake(
        "clone teapot teapot --steps 10",
        ("there is a TrainingJob teapot", "already"),
        "docs/commands.md#the-name-is-taken",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_words(desk: Desk, name: str) -> None:
    """The sentence says what is wrong and what to do, and nothing is created."""
    mistake = MISTAKES[name]
    answer = desk.type(*shlex.split(mistake.typed))
    assert_refused(answer, mistake.exit_code, *mistake.says, page=mistake.page)
    found = desk.cluster.kubectl("get", "trainingjobs", "-n", desk.namespace, "-o", "name").split()
    assert not {"trainingjob.atelier.dev/x", "trainingjob.atelier.dev/teapot-2"} & set(found)
