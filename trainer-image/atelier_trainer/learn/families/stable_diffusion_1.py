"""Stable Diffusion 1: one CLIP text encoder, whose last states the UNet reads."""

from __future__ import annotations

from collections.abc import Sequence

from atelier_contract.architectures import Architecture
from atelier_trainer.learn.families.base import TEXT, Conditions, Encoder
from atelier_trainer.learn.families.clip import load_clip, read_states
from atelier_trainer.learn.families.discrete import DiscreteDiffusion
from atelier_trainer.learn.families.loading import DiffusersFolder

ENCODER = "text_encoder"
"""Name of the only encoder."""


class StableDiffusion1(DiscreteDiffusion):
    """A loaded base model of the family."""

    architecture = Architecture.STABLE_DIFFUSION_1

    def _load_encoders(self, folder: DiffusersFolder) -> dict[str, Encoder]:
        return {ENCODER: load_clip(folder, ENCODER, self.device)}

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the last hidden states of texts, padded or cut to the encoder's length: [B, S, D] float32."""
        return {TEXT: read_states(self.encoders[ENCODER], texts, self.device)}
