"""The kind TrainingTemplate: a cluster-wide named set of training settings for an objective."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from atelier_contract.architectures import Architecture
from atelier_contract.base import CelRule, Spec, keyed_by
from atelier_contract.dataset import ModelType
from atelier_contract.methods import ConceptModelSpec, EmbeddingSpec
from atelier_contract.tuning import TuningSpec

KIND = "TrainingTemplate"
PLURAL = "trainingtemplates"
SHORT_NAME = "ttmpl"


FLOOR_BELOW_CEILING: CelRule = {
    "rule": "!has(self.minSteps) || !has(self.maxSteps) || self.minSteps <= self.maxSteps",
    "message": "minSteps may not exceed maxSteps",
}
ONE_WAY_TO_STEPS: CelRule = {
    "rule": "!has(self.steps) || (!has(self.passesPerPicture) && !has(self.minSteps) && !has(self.maxSteps))",
    "message": "name either steps, or passesPerPicture with minSteps and maxSteps, from which steps follow by the "
    "dataset's size",
}


class Recipe(Spec):
    """Settings for one architecture and one type of training."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [FLOOR_BELOW_CEILING, ONE_WAY_TO_STEPS]}}

    architecture: Architecture
    """Family the recipe is for."""
    type: ModelType
    """ConceptModel or Embedding."""
    description: Annotated[str, Field(max_length=1000)] | None = None
    """When to use it, and where its numbers come from."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """As spec.learningRate of a TrainingJob."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """As spec.steps of a TrainingJob. Without it, steps follow from passesPerPicture and the dataset's size."""
    passes_per_picture: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How often each picture is to be seen: steps = passes x pictures / batch size, within minSteps and maxSteps."""
    min_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Fewest steps that follow from passesPerPicture."""
    max_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most steps that follow from passesPerPicture."""
    concept_model: ConceptModelSpec | None = None
    """Defaults for spec.conceptModel."""
    embedding: EmbeddingSpec | None = None
    """Defaults for spec.embedding."""
    tuning: TuningSpec | None = None
    """Defaults for spec.tuning."""

    @model_validator(mode="after")
    def refuse_contradictions(self) -> Self:
        """Refuse limits that cannot be met, as the API server does.

        Raises:
            ValueError: the fewest steps exceed the most, or steps are given twice.
        """
        if (self.min_steps or 0) > (self.max_steps or self.min_steps or 0):
            raise ValueError(FLOOR_BELOW_CEILING["message"])
        if self.steps is not None and {self.passes_per_picture, self.min_steps, self.max_steps} != {None}:
            raise ValueError(ONE_WAY_TO_STEPS["message"])
        return self


class TrainingTemplateSpec(Spec):
    """Settings for an objective, by architecture and type."""

    description: Annotated[str, Field(max_length=2000)]
    """When to use it, and where its numbers come from."""
    recipes: Annotated[
        list[Recipe],
        Field(
            min_length=1,
            max_length=12,
            json_schema_extra=keyed_by("architecture", "type"),
        ),
    ]
    """One for each architecture and type the template is made for."""
