"""What makes two runs the same: everything that decides the weights, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_contract.identity import (
    NOT_IDENTITY,
    SLUG_LENGTH,
    digest_spec,
    identify_run,
    name_checkpoint,
    read_step,
    slugify,
)
from atelier_contract.training_job import MUTABLE_FIELDS, TrainingJobSpec
from contract_examples import OTHER_SHA, SHA, a_spec

PLACEMENT: dict[str, Any] = {
    "suspend": True,
    "stop": True,
    "selection": {"checkpoints": ["step-000500"], "finalize": True},
    "retention": {"graceSeconds": 60},
    "publish": {"invokeAI": {"url": "http://invoke:9090"}},
    "deletionPolicy": "Delete",
    "pod": {"gpus": 0},
    "queueName": "team-a",
}
"""One value for each field that says how or where, not what."""

DECIDING: dict[str, Any] = {
    "modelName": "another",
    "datasetRef": {"name": "cups"},
    "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/other"}}},
    "templateRef": {"name": "object"},
    "conceptModel": {"captionPrefix": "other"},
    "embedding": {},
    "learningRate": 0.5,
    "steps": 7,
    "tuning": {"seed": 7},
    "checkpoints": {"everySteps": 7},
    "validation": {"prompts": ["x"]},
    "startFrom": {"trainingJobRef": {"name": "older"}, "checkpoint": "step-000500"},
    "storage": {"secretRef": {"name": "other"}},
    "runId": "again",
}
"""One value for each field that decides the weights."""


def digest(**changes: Any) -> str:
    return digest_spec(TrainingJobSpec.model_validate(a_spec(**changes)))


def test_every_field_is_either_deciding_or_not() -> None:
    """A new field of the spec must be put into one of the two groups."""
    aliases = {field.alias for field in TrainingJobSpec.model_fields.values()}
    assert aliases == set(DECIDING) | set(PLACEMENT)
    assert set(PLACEMENT) == set(NOT_IDENTITY)
    assert set(MUTABLE_FIELDS) < set(PLACEMENT)


@pytest.mark.parametrize("field", PLACEMENT)
def test_placement_does_not_change_the_identity(field: str) -> None:
    """How a run is placed, and what happens after it, does not make it another run."""
    assert digest(**{field: PLACEMENT[field]}) == digest()


@pytest.mark.parametrize("field", DECIDING)
def test_deciding_field_changes_the_identity(field: str) -> None:
    """Every other field makes it another run."""
    changes = {field: DECIDING[field]}
    if field == "embedding":
        changes["conceptModel"] = None
    assert digest(**changes) != digest()


def test_empty_run_id_is_no_run_id() -> None:
    """Writing the default out does not train anew."""
    assert digest(runId="") == digest()


@given(st.sampled_from([SHA, OTHER_SHA]), st.text(max_size=5), st.text(max_size=5))
def test_identity_tells_its_three_parts_apart(spec: str, revision: str, image: str) -> None:
    """A character that moves from one part to the next gives another identity."""
    assert identify_run(spec, revision + "x", image) != identify_run(spec, revision, "x" + image)


@given(st.text(max_size=100))
def test_slug_is_a_safe_file_stem(name: str) -> None:
    """Whatever a model is called, its slug is empty or lower-case words joined by single dashes."""
    slug = slugify(name)
    assert len(slug) <= SLUG_LENGTH
    assert all(word.isalnum() and word.isascii() and word == word.lower() for word in slug.split("-")) or slug == ""


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("TKXW teapot", "tkxw-teapot"),
        ("Größe & Café №1", "groe-cafe-no1"),
        ("急須", ""),
        ("чайник", ""),
        ("../../etc/passwd", "etc-passwd"),
        ("  ", ""),
        ("x" * 100, "x" * SLUG_LENGTH),
    ],
)
def test_slug_of(name: str, slug: str) -> None:
    """Accents are taken off, what has no Latin form is left out, paths are no paths."""
    assert slugify(name) == slug


@given(st.integers(0, 9_999_999))
def test_checkpoint_name_tells_its_step(step: int) -> None:
    """A checkpoint's name and its step follow from each other."""
    assert read_step(name_checkpoint(step)) == step


@given(st.integers(0, 999_999), st.integers(0, 999_999))
def test_checkpoint_names_sort_by_step(one: int, other: int) -> None:
    """Names sort as steps do, so that a listing is in order."""
    assert (name_checkpoint(one) < name_checkpoint(other)) == (one < other)
