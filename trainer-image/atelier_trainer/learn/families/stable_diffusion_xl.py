"""Stable Diffusion XL: two CLIP text encoders, and a UNet that is told how large the picture is.

The UNet reads the last but one layer of both encoders side by side, the pooled answer of the second, and six numbers
(Podell et al. 2023, section 2.2): original size, offset of the crop, size trained at. Pictures here are resized to
their bucket and cropped to its middle, so all that is seen is the bucket: both sizes are the bucket's own and the
offset is zero. That is also what every tool says when it draws. Neither the nominal resolution nor an earlier size is
ever told: a portrait bucket called square would teach that such pictures are cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from atelier_contract.architectures import Architecture
from atelier_contract.tuning import Quantization
from atelier_trainer.learn.families.base import POOLED, TEXT, Conditions, Encoder
from atelier_trainer.learn.families.clip import load_clip, read_penultimate
from atelier_trainer.learn.families.discrete import DiscreteDiffusion
from atelier_trainer.learn.families.loading import DiffusersFolder

FIRST, SECOND = "text_encoder", "text_encoder_2"
"""Names of the encoders."""
ZEROS_FOR_EMPTY = "force_zeros_for_empty_prompt"
"""Of model_index.json: the base model was trained with zeros for absent texts."""


class StableDiffusionXL(DiscreteDiffusion):
    """A loaded base model of the family."""

    architecture = Architecture.STABLE_DIFFUSION_XL

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        denoiser_dtype: torch.dtype,
        layout: str,
        quantization: Quantization = "none",
    ) -> None:
        """Load the parts; as `DiscreteDiffusion`."""
        super().__init__(folder, device, denoiser_dtype, layout, quantization)
        self._time_ids: dict[Size, Tensor] = {}

    def _load_encoders(self, folder: DiffusersFolder) -> dict[str, Encoder]:
        # The published base says true; so do the single files made from it, which have no index.
        self.without_negative = "zeros" if folder.read_index().get(ZEROS_FOR_EMPTY, True) else "empty text"
        return {
            FIRST: load_clip(folder, FIRST, self.device),
            SECOND: load_clip(folder, SECOND, self.device, is_projected=True),
        }

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the states of both encoders side by side, [B, S, D₁ + D₂], and the second's pooled answer, [B, D]."""
        first, _ = read_penultimate(self.encoders[FIRST], texts, self.device)
        second, pooled = read_penultimate(self.encoders[SECOND], texts, self.device)
        return {TEXT: torch.cat([first, second], dim=-1), POOLED: pooled}

    def _add_conditions(self, noisy: Tensor, conditions: Conditions) -> dict[str, Any]:
        time_ids = self._read_time_ids(noisy.shape)
        return {"added_cond_kwargs": {"text_embeds": conditions[POOLED], "time_ids": time_ids}}

    def _read_time_ids(self, shape: Size) -> Tensor:
        """Return height, width, 0, 0, height, width in pixels of latents [B, C, H, W]: [B, 6] float32.

        Kept by shape: making them copies from the host, for which a step would have to wait.
        """
        if shape not in self._time_ids:
            height, width = shape[-2] * self.pixels_per_latent, shape[-1] * self.pixels_per_latent
            row = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=self.device)
            self._time_ids[shape] = row.repeat(shape[0], 1)
        return self._time_ids[shape]
