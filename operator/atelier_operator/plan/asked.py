"""What a run was asked, from both sources: the user's spec and a template's recipe. And how a row of status prints it.

In: a spec and a template. Out: for each setting the first that says anything, with the source's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atelier_contract import defaults
from atelier_contract.contradictions import MICRO_IN_BATCH, PRODIGY_RATE, is_prodigy_rate
from atelier_contract.methods import ConceptModelSpec, EmbeddingSpec, PivotalSpec, PriorSpec
from atelier_contract.pods import PodSettings
from atelier_contract.template import Recipe, TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import ResolvedSetting
from atelier_contract.tuning import CheckpointSpec, TuningSpec, ValidationSpec

PRODIGY = "Prodigy"
_VALUE_LENGTH = 128
Block = (
    TuningSpec
    | CheckpointSpec
    | ConceptModelSpec
    | PivotalSpec
    | PriorSpec
    | EmbeddingSpec
    | ValidationSpec
    | PodSettings
)
"""A part of spec whose fields are settings."""


@dataclass(frozen=True)
class Asked:
    """Both sources of one run's settings."""

    spec: TrainingJobSpec
    recipe: Recipe | None
    """The template's settings for this architecture and type."""
    job: str
    """Name of the TrainingJob."""

    @property
    def optimizer(self) -> str | None:
        """Return the optimiser that is asked for, if any is."""
        return (self.spec.tuning and self.spec.tuning.optimizer) or self._template_optimizer

    @property
    def uses_prodigy(self) -> bool:
        """Return whether the optimiser finds its own rate."""
        return self.optimizer == PRODIGY

    @property
    def template_rates_apply(self) -> bool:
        """Return whether the template's rates are meant for this optimiser: Prodigy's are factors on its own."""
        return self.uses_prodigy == (self._template_optimizer == PRODIGY)

    @property
    def _template_optimizer(self) -> str | None:
        return self.recipe.tuning.optimizer if self.recipe and self.recipe.tuning else None


def find_recipe(spec: TrainingJobSpec, template: TrainingTemplateSpec | None) -> Recipe | None:
    """Return the template's settings for this architecture and type, if it has any."""
    wanted = (spec.base_model.architecture, spec.model_type)
    recipes = template.recipes if template else []
    return next((recipe for recipe in recipes if (recipe.architecture, recipe.type) == wanted), None)


def find_conflict(spec: TrainingJobSpec, template: TrainingTemplateSpec | None) -> str:
    """Return what spec and template say against each other, in words; empty: nothing.

    The schema sees a spec alone; what a template adds can contradict it.
    """
    asked = Asked(spec, find_recipe(spec, template), "")
    if asked.uses_prodigy and not is_prodigy_rate(spec.learning_rate or 1.0):
        return f"{PRODIGY_RATE['message']} (the template's optimizer is Prodigy; tuning.optimizer: AdamW takes a rate)"
    mine, theirs = spec.tuning or TuningSpec(), (asked.recipe and asked.recipe.tuning) or TuningSpec()
    batch_size = mine.batch_size or theirs.batch_size or defaults.BATCH_SIZES[spec.base_model.architecture]
    if (mine.micro_batch_size or 0) > batch_size:
        return f"{MICRO_IN_BATCH['message']} ({batch_size})"
    return ""


def pick(name: str, spec: object, template: object, default: object) -> ResolvedSetting:
    """Return the row of one setting: the first of the three that is given."""
    if spec is not None:
        return ResolvedSetting(name=name, value=print_value(spec), source="Spec")
    if template is not None:
        return ResolvedSetting(name=name, value=print_value(template), source="Template")
    return ResolvedSetting(name=name, value=print_value(default), source="Default")


def pick_block(block: str, mine: Block, theirs: Block, built_in: dict[str, object]) -> Iterator[ResolvedSetting]:
    """Yield the rows of a block of spec whose serialised names are the keys of `built_in`."""
    spec, template = (part.model_dump(by_alias=True) for part in (mine, theirs))
    for name, default in built_in.items():
        yield pick(f"{block}.{name}", spec[name], template[name], default)


def print_value(value: object) -> str:
    """Return a value as a row carries it; numbers so that reading gives the same number again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"
