"""Training settings that rarely need a hand: tuning, checkpoints, validation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from atelier_contract.base import CelRule, Spec
from atelier_contract.references import KeyPath

Schedule = Literal["constant", "cosine", "cosineWithRestarts"]
Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["AdamW", "AdamW8bit", "Prodigy"]
LossKind = Literal["mse", "huber"]
Quantization = Literal["none", "8bit", "4bit"]
MetadataLevel = Literal["minimal", "standard", "full"]
Prompt = Annotated[str, Field(min_length=1, max_length=500)]


RESTARTS_NEED_THEM: CelRule = {
    "rule": "!has(self.restarts) || (has(self.schedule) && self.schedule == 'cosineWithRestarts')",
    "message": "restarts counts the courses of the schedule cosineWithRestarts: set schedule to it, or leave restarts "
    "out",
}
DELTA_NEEDS_HUBER: CelRule = {
    "rule": "!has(self.huberDelta) || (has(self.loss) && self.loss == 'huber')",
    "message": "huberDelta belongs to the loss huber: set loss to it, or leave huberDelta out",
}
KEPT_TAGS_NEED_SHUFFLING: CelRule = {
    "rule": "!has(self.keepTags) || (has(self.shuffleTags) && self.shuffleTags)",
    "message": "keepTags counts the parts that shuffleTags leaves in place: set shuffleTags to true, or leave keepTags "
    "out",
}


class TuningSpec(Spec):
    """Settings that rarely need a hand. Each is resolved from spec, template, built-in default, in this order."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [RESTARTS_NEED_THEM, DELTA_NEEDS_HUBER, KEPT_TAGS_NEED_SHUFFLING]
        }
    }

    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Pictures of one step, over all GPUs. Default: 4."""
    resolution: Annotated[int, Field(ge=64, le=2048, multiple_of=64)] | None = None
    """Side of a square training picture, in pixels; other shapes have the same area. Default: the family's own."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Where all random draws come from. Default: 0."""
    snr_gamma: Annotated[float, Field(ge=0, le=100)] | None = None
    """Min-SNR clip of the loss weights; 0 weighs all noise levels alike. Default: 5; Flux1 has none."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of pictures trained without their caption. Default: 0.05; embeddings: 0."""
    flip: bool | None = None
    """Also train mirrored pictures. Default: false."""
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Steps over which the learning rate rises from 0. Default: 0."""
    schedule: Schedule | None = None
    """Course of the learning rate after warm-up: constant, cosine down to 0, or that several times. Default: cosine."""
    restarts: Annotated[int, Field(ge=1, le=20)] | None = None
    """Cosine courses of the schedule cosineWithRestarts. Default: 3."""
    optimizer: Optimizer | None = None
    """AdamW, AdamW8bit (its moments in 8 bits, on a GPU), or Prodigy, which finds its own rate. Default: AdamW."""
    loss: LossKind | None = None
    """mse, or huber, which lets single far-off values weigh less. Default: mse."""
    huber_delta: Annotated[float, Field(gt=0, le=10)] | None = None
    """Error from which huber grows linearly. Default: 0.1."""
    noise_offset: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of noise that is the same over a whole picture, for very dark or bright ones. Default: 0."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Keep a running mean of the weights with this decay, and export it. 0: none. Default: 0. Example: 0.99."""
    micro_batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Pictures of one pass; the gradients of a batch are summed over its passes. Default: what the memory takes."""
    shuffle_tags: bool | None = None
    """Shuffle the parts of a caption between commas anew in every pass. Default: false."""
    keep_tags: Annotated[int, Field(ge=0, le=64)] | None = None
    """Parts at a caption's start that stay in place when the others are shuffled. Default: 1."""
    masks: Literal["auto", "none"] | None = None
    """auto: where a picture has a NAME.mask.png, learn mostly what is white in it. none: ignore them. Default: auto."""
    quantization: Quantization | None = None
    """Bits of the frozen base where GPU memory is short. What is trained and exported is not touched. Default: none."""
    precision: Precision | None = None
    """Number format of the frozen base. Adapters are float32 always. Default: bfloat16 on a GPU, else float32."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decoupled weight decay. Default: 0.01; embeddings: 0."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Norm to which gradients are clipped. Default: 1."""

    @model_validator(mode="after")
    def refuse_contradictions(self) -> Self:
        """Refuse a setting of something that is not chosen, as the API server does.

        Raises:
            ValueError: names what the setting belongs to.
        """
        if self.restarts is not None and self.schedule != "cosineWithRestarts":
            raise ValueError(RESTARTS_NEED_THEM["message"])
        if self.huber_delta is not None and self.loss != "huber":
            raise ValueError(DELTA_NEEDS_HUBER["message"])
        if self.keep_tags is not None and not self.shuffle_tags:
            raise ValueError(KEPT_TAGS_NEED_SHUFFLING["message"])
        return self


class CheckpointSpec(Spec):
    """How often a checkpoint is kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Steps between checkpoints. Default: a tenth of the steps. Doubled until at most 40 are kept."""
    metadata: MetadataLevel | None = None
    """What a model file says of its training: minimal (no captions, no names), standard or full. Default: minimal."""


class ValidationSpec(Spec):
    """Sample pictures of each checkpoint, and the held-out loss."""

    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=8)] | None = None
    """What to draw at each checkpoint; the trigger is put before a prompt that lacks it. Default: four captions."""
    negative_prompt: Annotated[str, Field(max_length=500)] | None = None
    """What not to draw. Default: nothing."""
    guidance: Annotated[float, Field(ge=0, le=30)] | None = None
    """Strength of the prompt in sample pictures. Default: the family's own (7.5, 5, 3.5)."""
    sampler_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    """Denoising steps of a sample picture. Default: 20."""
    held_out: Literal["auto", "none"] | None = None
    """auto: keep some pictures out of training to measure with. none: measure on training pictures. Default: auto."""
    image_encoder: KeyPath | None = None
    """Folder of an image encoder (CLIP or DINO, transformers layout) in the store, by which samples are compared with
    held-out and training pictures. Default: none, and nothing is compared. Example: image-encoders/dino."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Where the noise of sample pictures comes from, the same at every checkpoint. Default: 0."""
