"""The picture encoder of every family: an autoencoder between pictures and latents, and the scale of the latents.

It is always float32. The autoencoder of Stable Diffusion XL overflows in float16 (its config says so, `force_upcast`),
and both others lose detail for a gain that hardly counts: each picture is encoded once, and decoded only in samples.

In: pixels. Out: posteriors in the denoiser's scale, and pixels again. Knows no text and no denoiser.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from atelier_trainer.learn.families.base import Posterior
from atelier_trainer.learn.families.parts import Part

log = logging.getLogger(__name__)

TILE = 64
"""Latents on a side of a tile: a picture of 512 px, which every card decodes that trains at all."""


class Codec:
    """An autoencoder with the numbers that its config tells."""

    def __init__(self, load: Callable[[], AutoencoderKL], device: torch.device) -> None:
        """Load an autoencoder, which works on a device.

        Raises:
            ValueError: its latents are scaled in a way that this release does not know.
        """
        self.part = Part(load, device)
        config = self.part.model.config
        if config.latents_mean is not None or config.latents_std is not None:
            raise ValueError("vae/config.json scales each channel by itself (latents_mean): another kind of model")
        self._device = device
        self.latent_channels = int(config.latent_channels)
        self.pixels_per_latent = 2 ** (len(config.block_out_channels) - 1)
        self._scale = float(config.scaling_factor)
        self._shift = float(config.shift_factor or 0)
        """Subtracted before scaling; 0 in the Stable Diffusion families, whose configs have none."""

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Posterior:
        """Return the posterior of pictures [B, 3, H, W] in [-1, 1]: (latents - shift) · scale."""
        with self.part.awake() as model:
            posterior = model.encode(pixels.to(self._device)).latent_dist
        return Posterior((posterior.mean - self._shift) * self._scale, posterior.std * self._scale)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of latents [B, C, H, W].

        A whole picture of 1024 px takes more memory than many a step of training. Where it does not suffice the picture
        is put together from tiles that overlap: it may show faint seams, and the run goes on. Encoding has no such way,
        because seams would be learned.
        """
        raw = latents.float() / self._scale + self._shift
        with self.part.awake() as model:
            try:
                return torch.as_tensor(model.decode(raw).sample)
            except torch.OutOfMemoryError:
                log.warning("memory does not suffice to decode a sample at once: it is decoded in tiles")
            model.tile_latent_min_size = TILE
            model.tile_sample_min_size = TILE * self.pixels_per_latent
            return torch.as_tensor(model.tiled_decode(raw).sample)
