"""The kind TrainingTemplate: a cluster-wide named set of training settings for an objective."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atelier_contract.architectures import Architecture
from atelier_contract.base import Spec, keyed_by
from atelier_contract.dataset import ModelType
from atelier_contract.training_job import ConceptModelSpec, EmbeddingSpec
from atelier_contract.tuning import TuningSpec

KIND = "TrainingTemplate"
PLURAL = "trainingtemplates"
SHORT_NAME = "ttmpl"


class Recipe(Spec):
    """Settings for one architecture and one type of training."""

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
