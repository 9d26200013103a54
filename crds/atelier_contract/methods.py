"""What is trained: a concept model or an embedding, and what each may ask for beside its rates and steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Spec
from atelier_contract.references import NameRef


class PivotalSpec(Spec):
    """An embedding trained together with the concept model: two files a checkpoint, used together."""

    initial_phrase: Annotated[str, Field(min_length=1, max_length=8)] | None = None
    """Text that the embedding starts from, at most 8 characters. Default: object."""
    placeholder: Annotated[str, Field(pattern=r"^<[a-z0-9-]+>$", max_length=64)] | None = None
    """Word that calls it, put before every caption. Default: the model's slug in angle brackets."""
    vectors: Annotated[int, Field(ge=1, le=32)] | None = None
    """Rows of the embedding. Default: 2."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Its own rate. Default: 0.0003; with Prodigy, as learningRate."""
    until_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """Share of the steps in which it learns; afterwards the concept model learns alone. Default: 50."""


class PriorSpec(Spec):
    """Prior preservation: other pictures of the same kind, on which the model must answer as the base model does."""

    dataset_ref: NameRef | None = None
    """Dataset of such pictures, uploaded or in the namespace's own bucket. Default: the base model draws them once."""
    prompt: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What it draws, and the caption of what it drew. Needed without datasetRef. Example: a teapot."""
    pictures: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many it draws. Default: 50."""
    weight: Annotated[float, Field(gt=0, le=10)] | None = None
    """Weight of these pictures against the dataset's. Default: 1."""


class ConceptModelSpec(Spec):
    """Train a concept model (LoRA). Captions are required."""

    caption_prefix: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Put before every caption as the prompt trigger; left alone where a caption has it. Example: TKXW."""
    rank: Annotated[int, Field(ge=1, le=256)] | None = None
    """Rank of the adapter. Default by template. Example: 16."""
    alpha: Annotated[float, Field(gt=0, le=256)] | None = None
    """Scale numerator; the update is alpha/rank. Default: the rank."""
    targets: Literal["attention", "attentionMlp", "attentionMlpConv"] | None = None
    """Layers that get an adapter. Default: attentionMlp."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout inside the adapter, 0 to 1. Default: 0."""
    text_encoder_learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Train the text encoder too, at this rate (with Prodigy: as learningRate). Default: it stays frozen."""
    embedding: PivotalSpec | None = None
    """Train an embedding in the same run. Default: none."""
    prior_preservation: PriorSpec | None = None
    """Keep what the base model knows of the kind. Default: off."""


class EmbeddingSpec(Spec):
    """Train an embedding (textual inversion). Captions are not needed."""

    initial_phrase: Annotated[str, Field(min_length=1, max_length=8)] | None = None
    """Text that the embedding starts from, at most 8 characters. Default by template. Example: painting."""
    placeholder: Annotated[str, Field(pattern=r"^<[a-z0-9-]+>$", max_length=64)] | None = None
    """Word that calls the embedding in a prompt. Default: the model's slug in angle brackets. Example: <tkxw>."""
    vectors: Annotated[int, Field(ge=1, le=32)] | None = None
    """Rows of the embedding. Default by template. Example: 4."""
