"""The four templates that the chart ships: whole, sourced, and with steps that suit the sizes they are meant for."""

from __future__ import annotations

import re

import pytest

from atelier_contract import template
from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.template import Recipe, TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_operator.plan.resolve import count_steps, resolve
from atelier_operator.plan.resolved import read_settings
from contract_examples import a_spec
from rendered import pick, render

MEANT_FOR = {"style": (20, 100), "character": (10, 40), "object": (4, 20), "product": (8, 30)}
"""Fewest and most pictures that each template's description names."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, TrainingTemplateSpec]:
    """The templates by name, as the chart installs them."""
    objects = pick(render(), template.KIND)
    return {one["metadata"]["name"]: TrainingTemplateSpec.model_validate(one["spec"]) for one in objects}


@pytest.fixture(params=MEANT_FOR)
def named(request: pytest.FixtureRequest, shipped: dict[str, TrainingTemplateSpec]) -> tuple[str, TrainingTemplateSpec]:
    """Each template with its name."""
    return request.param, shipped[request.param]


def list_types(architecture: Architecture) -> set[str]:
    """Return what can be trained on a family."""
    return {"ConceptModel", "Embedding"} if FACTS[architecture].embeddings else {"ConceptModel"}


def test_four_templates_are_shipped(shipped: dict[str, TrainingTemplateSpec]) -> None:
    """An objective each."""
    assert set(shipped) == set(MEANT_FOR)


def test_every_family_and_type_has_a_recipe(named: tuple[str, TrainingTemplateSpec]) -> None:
    """A template serves whatever can be trained."""
    _, spec = named
    wanted = {(family, kind) for family in Architecture for kind in list_types(family)}
    assert {(recipe.architecture, recipe.type) for recipe in spec.recipes} == wanted


def test_recipes_say_where_their_numbers_come_from(named: tuple[str, TrainingTemplateSpec]) -> None:
    """Each recipe names a source in brackets, or another recipe; each source is explained in the template."""
    _, spec = named
    for recipe in spec.recipes:
        cited = set(re.findall(r"\[[a-z-]+\]", recipe.description or ""))
        assert cited or "those of StableDiffusionXL" in (recipe.description or "")
        assert all(f"{source} " in spec.description for source in cited)


def test_recipes_have_what_their_type_needs(named: tuple[str, TrainingTemplateSpec]) -> None:
    """A rate, passes with floor and ceiling, and the block of the type."""
    _, spec = named
    for recipe in spec.recipes:
        assert recipe.learning_rate is not None
        assert None not in {recipe.passes_per_picture, recipe.min_steps, recipe.max_steps}
        assert (recipe.embedding is not None) == (recipe.type == "Embedding")
        assert (recipe.concept_model is not None) == (recipe.type == "ConceptModel")


def test_a_family_without_weights_is_given_none(named: tuple[str, TrainingTemplateSpec]) -> None:
    """FLUX.1's loss has no min-SNR weights, so no recipe sets them for it."""
    for recipe in named[1].recipes:
        gamma = recipe.tuning.snr_gamma if recipe.tuning else None
        assert FACTS[recipe.architecture].weighs_noise or gamma is None


def test_alpha_is_the_rank(named: tuple[str, TrainingTemplateSpec]) -> None:
    """The rates hold for an update that is not scaled."""
    for recipe in named[1].recipes:
        assert recipe.concept_model is None or recipe.concept_model.alpha == recipe.concept_model.rank


def test_passes_decide_between_the_limits(named: tuple[str, TrainingTemplateSpec]) -> None:
    """Within the sizes it is meant for some number of pictures is seen just as often as the recipe says."""
    name, spec = named
    fewest, most = MEANT_FOR[name]
    for recipe in spec.recipes:
        steps = [count_steps(recipe, pictures, read_batch_size(recipe)) for pictures in range(fewest, most + 1)]
        assert steps == sorted(steps)
        assert any((recipe.min_steps or 0) < one < (recipe.max_steps or 0) for one in steps), recipe.architecture


def read_batch_size(recipe: Recipe) -> int:
    """Return the batch that a recipe's numbers hold for."""
    assert recipe.tuning is not None
    assert recipe.tuning.batch_size is not None
    return recipe.tuning.batch_size


def test_every_recipe_resolves(named: tuple[str, TrainingTemplateSpec]) -> None:
    """A job that names a template and nothing else trains with the recipe's numbers."""
    for recipe in named[1].recipes:
        base = {"architecture": recipe.architecture.value, "source": {"storage": {"path": "m"}}}
        kind = {"embedding": {}, "conceptModel": None} if recipe.type == "Embedding" else {"conceptModel": {}}
        spec = TrainingJobSpec.model_validate(a_spec(baseModel=base, **kind))
        settings = read_settings("teapot", spec, resolve("teapot", spec, named[1], 25))
        assert settings.learning_rate == recipe.learning_rate
        assert settings.steps == count_steps(recipe, 25, settings.batch_size)
        assert settings.concept_model is None or settings.concept_model.prior is None
