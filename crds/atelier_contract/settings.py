"""A run's settings after resolution: every value that the trainer uses, none left to be guessed.

The operator resolves them (spec over template over `defaults`) and sends them down in `TrainingInput`; run.json keeps
them, so that an adopted run goes on with the values it began with.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Report
from atelier_contract.tuning import LossKind, MetadataLevel, Optimizer, Quantization, Schedule

Rate = Annotated[float, Field(gt=0, le=10)]
"""A learning rate: the range in which one can be asked for, which keeps what is not a number out too."""
Targets = Literal["attention", "attentionMlp", "attentionMlpConv"]


class PivotalSettings(Report):
    """An embedding that is trained together with a concept model."""

    initial_phrase: str
    placeholder: str
    vectors: Annotated[int, Field(ge=1)]
    learning_rate: Rate
    until_percent: Annotated[int, Field(ge=1, le=100)]
    """Share of the steps in which the embedding learns; afterwards it stays as it is."""


class PriorSettings(Report):
    """Prior preservation: other pictures, on which the result must answer as the base model does."""

    weight: Annotated[float, Field(gt=0)]
    """Of a prior picture's loss against a dataset picture's."""
    prompt: str = ""
    """What is drawn where no dataset of prior pictures is given."""
    pictures: Annotated[int, Field(ge=1)]
    """How many are drawn."""


class ConceptModelSettings(Report):
    """A concept model (LoRA) as it is trained."""

    caption_prefix: str = ""
    """Empty: captions are used as they are."""
    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    targets: Targets
    dropout: Annotated[float, Field(ge=0, lt=1)]
    text_encoder_learning_rate: Rate | None = None
    """None: the text encoder stays frozen."""
    embedding: PivotalSettings | None = None
    """None: no embedding is trained with it."""
    prior: PriorSettings | None = None
    """None: no prior preservation."""


class EmbeddingSettings(Report):
    """An embedding (textual inversion) as it is trained."""

    initial_phrase: str
    placeholder: str
    vectors: Annotated[int, Field(ge=1)]


class ValidationSettings(Report):
    """Sample pictures and held-out loss as they are made."""

    prompts: Annotated[list[str], Field(min_length=1)] | None = None
    """None: the trainer takes four captions of the dataset."""
    negative_prompt: str = ""
    guidance: Annotated[float, Field(ge=0)]
    sampler_steps: Annotated[int, Field(ge=1)]
    held_out: Literal["auto", "none"]
    seed: int
    image_encoder: str | None = None
    """Folder in the store; None: samples are not compared."""


class Settings(Report):
    """Every setting of a run. Exactly one of `concept_model` and `embedding` is given."""

    learning_rate: Rate
    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    resolution: Annotated[int, Field(ge=64, le=2048)]
    """Side of a square training picture, in pixels."""
    seed: int
    snr_gamma: Annotated[float, Field(ge=0)]
    """0: no weighting."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)]
    flip: bool
    warmup_steps: Annotated[int, Field(ge=0)]
    schedule: Schedule
    restarts: Annotated[int, Field(ge=1)] = 3
    optimizer: Optimizer = "AdamW"
    loss: LossKind = "mse"
    huber_delta: Annotated[float, Field(gt=0)] = 0.1
    noise_offset: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """0: no running mean is kept."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """None: as many pictures in one pass as the memory takes."""
    shuffle_tags: bool = False
    keep_tags: Annotated[int, Field(ge=0)] = 1
    masks: Literal["auto", "none"] = "auto"
    quantization: Quantization = "none"
    metadata: MetadataLevel = "minimal"
    precision: Literal["auto", "float32", "bfloat16"]
    """auto: bfloat16 where the device computes it, else float32."""
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    every_steps: Annotated[int, Field(ge=1)]
    """Steps between checkpoints, after doubling to fit the limit of 40."""
    concept_model: ConceptModelSettings | None = None
    embedding: EmbeddingSettings | None = None
    validation: ValidationSettings
