"""Training settings that rarely need a hand: tuning, checkpoints, validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Spec

Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bfloat16"]
Prompt = Annotated[str, Field(min_length=1, max_length=500)]


class TuningSpec(Spec):
    """Settings that rarely need a hand. Each is resolved from spec, template, built-in default, in this order."""

    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Pictures of one step, over all GPUs. Default: 4."""
    resolution: Annotated[int, Field(ge=64, le=2048, multiple_of=64)] | None = None
    """Side of a square training picture, in pixels; other shapes have the same area. Default: the family's own."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Where all random draws come from. Default: 0."""
    snr_gamma: Annotated[float, Field(ge=0, le=100)] | None = None
    """Min-SNR clip of the loss weights; 0 weighs all noise levels alike. Default: 5."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of pictures trained without their caption. Default: 0.05; embeddings: 0."""
    flip: bool | None = None
    """Also train mirrored pictures. Default: false."""
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Steps over which the learning rate rises from 0. Default: 0."""
    schedule: Schedule | None = None
    """Course of the learning rate after warm-up: constant, or cosine down to 0. Default: cosine."""
    precision: Precision | None = None
    """Number format of the frozen base. Adapters are float32 always. Default: bfloat16 on a GPU, else float32."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decoupled weight decay of AdamW. Default: 0.01; embeddings: 0."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Norm to which gradients are clipped. Default: 1."""


class CheckpointSpec(Spec):
    """How often a checkpoint is kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Steps between checkpoints. Default: a tenth of the steps. Doubled until at most 40 are kept."""


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
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Where the noise of sample pictures comes from, the same at every checkpoint. Default: 0."""
