"""Documents between versions: what was written once can be read for ever, and what is asked is asked strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from atelier_contract.base import SCHEMA_VERSION, Document, Spec
from atelier_contract.dataset import DatasetSpec
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from contract_examples import DOCUMENTS, a_spec
from contradictory_specs import COMPATIBLE, CONTRADICTORY

GOLDEN = Path(__file__).parent / "golden"


def read_golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


def list_documents(model: type[Document] = Document) -> set[type[Document]]:
    found = set(model.__subclasses__())
    return found.union(*(list_documents(one) for one in found)) if found else set()


def test_every_document_has_a_golden_file() -> None:
    """A new kind of document gets an example, and with it a golden file."""
    ours = {model for model in list_documents() if model.__module__.startswith("atelier_contract.")}
    assert {type(document) for document in DOCUMENTS.values()} == ours


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_written_as_ever(name: str) -> None:
    """A writer of today writes what readers in the field know, byte for byte but for spaces."""
    assert json.loads(DOCUMENTS[name].to_bytes()) == read_golden(name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_golden_file_is_read(name: str) -> None:
    """A reader of today reads what every version so far has written."""
    model = type(DOCUMENTS[name])
    assert model.model_validate(read_golden(name)) == DOCUMENTS[name]


@pytest.mark.parametrize("name", [path.stem for path in sorted((GOLDEN / "earlier").glob("*.json"))])
def test_earlier_golden_file_is_read(name: str) -> None:
    """What an earlier version wrote, without the fields that are new since, is read and keeps its every value."""
    earlier = read_golden(f"earlier/{name}")
    read = type(DOCUMENTS[name]).model_validate(earlier)
    assert is_within(earlier, read.as_json())


def is_within(part: Any, whole: Any) -> bool:
    """Return whether everything one JSON value says is said by another."""
    if isinstance(part, dict):
        return all(key in whole and is_within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(is_within(*pair) for pair in zip(part, whole, strict=True))
    return bool(part == whole)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_reader_ignores_what_a_newer_writer_adds(name: str) -> None:
    """A field of a later version is passed over."""
    model = type(DOCUMENTS[name])
    assert model.model_validate({**read_golden(name), "addedLater": {"x": 1}}) == DOCUMENTS[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_reader_refuses_a_newer_major_version(name: str) -> None:
    """A document of a shape that this release cannot know is not guessed at; the message says to upgrade."""
    with pytest.raises(ValidationError, match="upgrade"):
        type(DOCUMENTS[name]).model_validate({**read_golden(name), "schemaVersion": SCHEMA_VERSION + 1})


@pytest.mark.parametrize(
    ("model", "good"),
    [
        (TrainingJobSpec, a_spec()),
        (DatasetSpec, {"source": {"upload": {}}}),
        (
            TrainingTemplateSpec,
            {"description": "x", "recipes": [{"architecture": "StableDiffusion1", "type": "Embedding"}]},
        ),
    ],
)
def test_spec_refuses_a_misspelt_field(model: type[Spec], good: dict[str, Any]) -> None:
    """What a person asks is never silently ignored."""
    model.model_validate(good)
    with pytest.raises(ValidationError, match="lerningRate"):
        model.model_validate({**good, "lerningRate": 1})


def test_spec_reads_a_rate_in_scientific_notation() -> None:
    """`1e-4`, which some YAML readers hand over as text, is the number it means."""
    assert TrainingJobSpec.model_validate(a_spec(learningRate="1e-4")).learning_rate == 0.0001


def test_spec_prints_what_it_read() -> None:
    """Reading and printing a spec gives the same JSON."""
    spec = a_spec(publish={"invokeAI": {"url": "http://invoke:9090"}}, conceptModel={})
    assert TrainingJobSpec.model_validate(spec).as_json() == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": {}},
        {"conceptModel": None},
        {"conceptModel": None, "embedding": {"initialPhrase": "nine char"}},
        {"steps": 0},
        {"baseModel": {"architecture": "StableDiffusion9", "source": {"storage": {"path": "x"}}}},
        {"baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "../secrets"}}}},
        {"baseModel": {"architecture": "StableDiffusion1", "source": {}}},
    ],
    ids=["both types", "no type", "phrase of 9", "steps 0", "unknown family", "path up", "no source"],
)
def test_spec_refuses_what_the_api_server_refuses(changes: dict[str, Any]) -> None:
    """Python and the API server agree on what is wrong (tests/contract/test_api_server.py asks the server)."""
    with pytest.raises(ValidationError):
        TrainingJobSpec.model_validate(a_spec(**changes))


@pytest.mark.parametrize("case", CONTRADICTORY)
def test_contradictory_spec_is_refused_in_words(case: str) -> None:
    """Settings that cannot be meant together are refused with what to change."""
    changes, words = CONTRADICTORY[case]
    with pytest.raises(ValidationError) as refused:
        TrainingJobSpec.model_validate(a_spec(**changes))
    assert words in str(refused.value)


@pytest.mark.parametrize("case", COMPATIBLE)
def test_compatible_spec_is_read(case: str) -> None:
    """What lies next to a contradiction and is none is taken."""
    TrainingJobSpec.model_validate(a_spec(**COMPATIBLE[case]))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"minSteps": 9, "maxSteps": 8}, "may not exceed maxSteps"),
        ({"steps": 5, "passesPerPicture": 5}, "either steps"),
    ],
)
def test_recipe_refuses_limits_that_cannot_be_met(limits: dict[str, int], words: str) -> None:
    """A template's steps are said once, and its floor lies below its ceiling."""
    recipe = {"architecture": "StableDiffusion1", "type": "Embedding", **limits}
    with pytest.raises(ValidationError, match=words):
        TrainingTemplateSpec.model_validate({"description": "x", "recipes": [recipe]})
