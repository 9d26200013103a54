"""The picture encoder of every family: an autoencoder between pictures and latents, and the scale of the latents.

It is always float32. The autoencoder of Stable Diffusion XL overflows in float16 (its config says so, `force_upcast`),
and both others lose detail for a gain that hardly counts: each picture is encoded once, and decoded only in samples.

In: pixels. Out: posteriors in the denoiser's scale, and pixels again. Knows no text and no denoiser.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from atelier_trainer.learn.families.base import Posterior

log = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=nn.Module)
TILE = 64
"""Latents on a side of a tile: a picture of 512 px, which every card decodes that trains at all."""


class Codec:
    """An autoencoder with the numbers that its config tells."""

    def __init__(self, model: AutoencoderKL, device: torch.device) -> None:
        """Move a loaded autoencoder to the device and freeze it.

        Raises:
            ValueError: its latents are scaled in a way that this release does not know.
        """
        config = model.config
        if config.latents_mean is not None or config.latents_std is not None:
            raise ValueError("vae/config.json scales each channel by itself (latents_mean): another kind of model")
        self.model = freeze(model).to(device)
        self._device = device
        self.latent_channels = int(config.latent_channels)
        self.pixels_per_latent = 2 ** (len(config.block_out_channels) - 1)
        self._scale = float(config.scaling_factor)
        self._shift = float(config.shift_factor or 0)
        """Subtracted before scaling; 0 in the Stable Diffusion families, whose configs have none."""

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Posterior:
        """Return the posterior of pictures [B, 3, H, W] in [-1, 1]: (latents - shift) · scale."""
        with awake(self.model, self._device):
            posterior = self.model.encode(pixels.to(self._device)).latent_dist
        return Posterior((posterior.mean - self._shift) * self._scale, posterior.std * self._scale)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of latents [B, C, H, W].

        A whole picture of 1024 px takes more memory than many a step of training. Where it does not suffice the picture
        is put together from tiles that overlap: it may show faint seams, and the run goes on. Encoding has no such way,
        because seams would be learned.
        """
        raw = latents.float() / self._scale + self._shift
        with awake(self.model, self._device):
            try:
                return torch.as_tensor(self.model.decode(raw).sample)
            except torch.OutOfMemoryError:
                log.warning("memory does not suffice to decode a sample at once: it is decoded in tiles")
            self.model.tile_latent_min_size = TILE
            self.model.tile_sample_min_size = TILE * self.pixels_per_latent
            return torch.as_tensor(self.model.tiled_decode(raw).sample)


def freeze(model: ModelT) -> ModelT:
    """Return a model that neither learns nor drops anything."""
    model.requires_grad_(requires_grad=False).eval()
    return model


@contextmanager
def awake(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a model on a device inside the block, and afterwards where it was."""
    home = next(model.parameters()).device
    if home.type == device.type:  # a process has one device of a kind; `cuda` and `cuda:0` are not equal
        yield
        return
    model.to(device)
    try:
        yield
    finally:
        model.to(home)


def rest_models(*models: nn.Module) -> None:
    """Move models out of the device's memory, and give the memory back."""
    for model in models:
        model.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
