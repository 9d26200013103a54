"""What a person is shown to choose from when a job is made: datasets, templates, base models, and the defaults.

In come objects of the cluster, out go words; and what is refused because it could not be trained from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atelier_contract import defaults
from atelier_contract.architectures import FACTS
from atelier_contract.reasons import DatasetState
from atelier_studio.actions import tables
from atelier_studio.actions.documents import write_number
from atelier_studio.actions.wishes import CLAIM, HUB
from atelier_studio.errors import BadRequest, find_page

if TYPE_CHECKING:
    from atelier_contract.template import Recipe

Object = dict[str, Any]
CONCEPT, EMBEDDING = "ConceptModel", "Embedding"
RECOMMENDED_STEPS = 2000
"""The guide's least number of steps for a result to rely on."""


@dataclass(frozen=True)
class Choice:
    """One answer that can be chosen: what it stands for, and how it is told."""

    value: str
    title: str


def list_datasets(bodies: Iterable[Object], kind: str) -> list[Choice]:
    """Return the Datasets with their pictures and captions, those first that the type can be trained from."""
    rows = []
    for body in bodies:
        name, status = body["metadata"]["name"], tables.read_dataset_status(body)
        state = tables.read_state(status)[0]
        usable = kind in (status.usable_for or ())
        if status.items is None:
            told = state
        else:
            told = f"{status.items} pictures, {status.captioned or 0} with captions"
            told += "" if usable else f", not usable for {tell_kind(kind)}"
        rows.append((not usable, name, Choice(name, f"{name}   ({told})")))
    return [choice for _, _, choice in sorted(rows, key=lambda row: row[:2])]


def check_dataset(body: Object, kind: str) -> None:
    """Refuse a dataset that an inspection has found unusable for the type of training.

    Raises:
        BadRequest: says what it lacks. One that is not inspected yet is not refused: the job waits for it.
    """
    name, status = body["metadata"]["name"], tables.read_dataset_status(body)
    state, message = tables.read_state(status)
    if state in {DatasetState.UNUSABLE, DatasetState.INVALID} and tables.is_current(body, status):
        raise BadRequest(f"the dataset {name} cannot be trained from: {message}", find_page(state))
    if state == DatasetState.INSPECTED and kind not in (status.usable_for or ()):
        without = (status.items or 0) - (status.captioned or 0)
        raise BadRequest(
            f"the dataset {name} cannot be used for {tell_kind(kind)}: {without} of its {status.items} pictures have "
            "no caption. Write NAME.txt beside each NAME.png and push the folder again, or train an embedding, which "
            "needs no captions",
            find_page("CaptionMissing"),
        )


def list_templates(bodies: Iterable[Object], kind: str, architecture: str) -> list[Choice]:
    """Return the templates that have a recipe for the type and architecture."""
    found = []
    for body in bodies:
        if find_recipe(body, kind, architecture):
            name = body["metadata"]["name"]
            told = str(body["spec"].get("description") or "").strip().partition(". ")[0]
            found.append(Choice(name, f"{name}   {told}".rstrip()))
    return found


def check_template(body: Object, kind: str, architecture: str) -> None:
    """Refuse a template that has no recipe for what is to be trained.

    Raises:
        BadRequest: says for what it has recipes.
    """
    if find_recipe(body, kind, architecture) is None:
        there = ", ".join(f"{recipe.architecture} {recipe.type}" for recipe in read_recipes(body))
        raise BadRequest(
            f"the template {body['metadata']['name']} has no recipe for {architecture} {kind}, only for {there}: "
            "choose another, or none"
        )


def find_recipe(body: Object | None, kind: str, architecture: str) -> Recipe | None:
    """Return a template's recipe for a type and architecture."""
    recipes = read_recipes(body) if body else []
    return next((one for one in recipes if one.type == kind and one.architecture == architecture), None)


def read_recipes(body: Object) -> list[Recipe]:
    """Return a template's recipes."""
    from atelier_contract.template import TrainingTemplateSpec  # noqa: PLC0415  (only `create` reads templates)

    return TrainingTemplateSpec.model_validate(body["spec"]).recipes


def list_architectures(kind: str) -> list[Choice]:
    """Return the architectures that the type can be trained for."""
    return [
        Choice(str(name), f"{facts.title}   ({facts.resolution_px} px)")
        for name, facts in FACTS.items()
        if kind == CONCEPT or facts.embeddings
    ]


def list_bases(bodies: Iterable[Object], architecture: str) -> list[str]:
    """Return the base models that other jobs of the namespace start from, as `--base-model` takes them."""
    found: dict[str, None] = {}
    for body in bodies:
        base = tables.read_spec(body).base_model
        if base.architecture != architecture:
            continue
        source = base.source
        if source.storage:
            found[source.storage.path] = None
        elif source.persistent_volume_claim:
            claim = source.persistent_volume_claim
            found[f"{CLAIM}{claim.claim_name}/{claim.path or ''}".rstrip("/")] = None
        elif source.hugging_face:
            found[f"{HUB}{source.hugging_face.repository}@{source.hugging_face.revision}"] = None
    return list(found)


def tell_default_rate(recipe: Recipe | None, kind: str) -> str:
    """Return the learning rate that is used where none is given, and whose it is."""
    if recipe and recipe.learning_rate is not None:
        return f"{write_number(recipe.learning_rate)} by the template"
    rate = defaults.CONCEPT_LEARNING_RATE if kind == CONCEPT else defaults.EMBEDDING_LEARNING_RATE
    return f"{write_number(rate)} by default"


def tell_default_steps(recipe: Recipe | None) -> str:
    """Return the steps that are trained where no number is given, and whose they are."""
    if recipe and recipe.steps is not None:
        return f"{recipe.steps} by the template"
    if recipe and recipe.passes_per_picture is not None:
        limits = f", {recipe.min_steps or 1} to {recipe.max_steps or 'any number'}"
        return f"by the template so many that each picture is seen {recipe.passes_per_picture} times{limits}"
    return f"{defaults.STEPS} by default"


def tell_default_phrase(recipe: Recipe | None) -> str:
    """Return the phrase that an embedding starts from where none is given, and whose it is."""
    if recipe and recipe.embedding and recipe.embedding.initial_phrase:
        return f"{recipe.embedding.initial_phrase} by the template"
    return f"{defaults.INITIAL_PHRASE} by default"


def tell_kind(kind: str) -> str:
    """Return a type of training as people say it."""
    return "a concept model" if kind == CONCEPT else "an embedding"
