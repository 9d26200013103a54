"""Stable Diffusion 1: one CLIP text encoder, a UNet, discrete diffusion.

In: a folder in the diffusers layout. Loading is offline, from safetensors alone, without remote code. Every figure that
differs between checkpoints of the family (scale and size of the latents, prediction type, noise schedule) is read from
their configs. Knows neither methods nor data.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Generator, Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from atelier_contract.architectures import Architecture
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.families.base import Conditions, Encoder, Pause, Posterior, SamplerSettings
from atelier_trainer.learn.noising import NoiseSchedule

TEXT = "text_encoder"
"""Name of the only encoder, and of its output among the conditions ([B, S, D])."""
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
"""diffusers' names of prediction types, and ModelSpec's."""
CHANNELS_LAST = "channels_last"
OFFLINE: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
"""Loading arguments: nothing is fetched, and pickled weights are not even looked at."""


class StableDiffusion1:
    """A loaded base model of the family. All parts are frozen; methods thaw or add what they train."""

    architecture = Architecture.STABLE_DIFFUSION_1

    def __init__(self, folder: Path, device: torch.device, denoiser_dtype: torch.dtype, layout: str) -> None:
        """Load the parts.

        Args:
            folder: checkpoint in the diffusers layout.
            device: where to compute.
            denoiser_dtype: number format of the UNet; encoders are always float32, they run once a picture and text.
            layout: `contiguous` or `channels_last`, of the UNet's weights.

        Raises:
            BaseModelUnusable: a part is missing or not of this family.
        """
        self.device = device
        self._dtype = denoiser_dtype
        _silence_progress_bars()
        try:
            self._load(folder)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BaseModelUnusable(
                f"the base model does not load as Stable Diffusion 1 ({type(error).__name__}: {str(error)[:300]}): "
                "use a checkpoint in the diffusers layout with safetensors weights"
            ) from error
        if layout == CHANNELS_LAST:
            self.denoiser.to(memory_format=torch.channels_last)
        self.latent_channels = int(self.vae.config.latent_channels)
        self.pixels_per_latent = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._scale = float(self.vae.config.scaling_factor)

    def _load(self, folder: Path) -> None:
        """Load every part from its own folder, so that nothing the model index names is looked for."""
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        text_model = CLIPTextModel.from_pretrained(folder / TEXT, dtype=torch.float32, **OFFLINE)
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32, **OFFLINE)
        self.denoiser = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=self._dtype, **OFFLINE)
        for part in (text_model, self.vae, self.denoiser):
            part.requires_grad_(requires_grad=False).eval().to(self.device)
        self.encoders = {TEXT: Encoder(tokenizer, text_model)}
        noising = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        if noising.config.prediction_type not in PREDICTIONS:
            raise ValueError(f"prediction type {noising.config.prediction_type!r} of scheduler_config.json")
        self.schedule = NoiseSchedule(noising.alphas_cumprod.to(self.device), noising.config.prediction_type)
        self.prediction = PREDICTIONS[noising.config.prediction_type]
        self._sampler_config: Any = noising.config

    @torch.no_grad()
    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the posterior of one picture [1, 3, H, W] in [-1, 1], scaled by the VAE's own factor."""
        posterior = self.vae.encode(pixels.to(self.device)).latent_dist
        return Posterior(posterior.mean * self._scale, posterior.std * self._scale)

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the last hidden states of texts, padded or cut to the encoder's length: [B, S, D] float32."""
        encoder = self.encoders[TEXT]
        tokens = encoder.tokenizer(
            list(texts),
            padding="max_length",
            max_length=encoder.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return {TEXT: encoder.model(tokens.input_ids.to(self.device))[0]}

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return how many tokens a text has and how many the encoder reads, without start and end."""
        tokenizer = self.encoders[TEXT].tokenizer
        tokens = tokenizer.tokenize(text)
        return len(tokens), int(tokenizer.model_max_length) - 2

    def draw_timestep(self, generator: Generator) -> Tensor:
        """Draw a timestep, each as likely as the others (Ho et al. 2020, algorithm 1)."""
        return torch.randint(self.schedule.timesteps, (), generator=generator)

    def grid(self, count: int) -> Tensor:
        """Return the middles of `count` equal spans of the timesteps, [count] int64."""
        return ((torch.arange(count, dtype=torch.float64) + 0.5) * self.schedule.timesteps / count).long()

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return latents noised to their timesteps."""
        return self.schedule.add_noise(latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noise or the velocity, as the base model's scheduler config says."""
        return self.schedule.target(latents, noise, timesteps)

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Return min-SNR weights."""
        return self.schedule.weigh(timesteps, gamma)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Return the UNet's answer in float32; it computes in the denoiser's number format."""
        with self._autocast():
            answer = self.denoiser(
                noisy.to(self._dtype), timesteps, encoder_hidden_states=conditions[TEXT].to(self._dtype)
            ).sample
        return torch.as_tensor(answer).float()

    @torch.no_grad()
    def sample(
        self, noise: Tensor, conditions: Conditions, negative: Conditions, sampler: SamplerSettings, pause: Pause
    ) -> Tensor:
        """Denoise by DDIM (Song et al. 2021) with classifier-free guidance (Ho and Salimans 2022); return pixels."""
        scheduler = DDIMScheduler.from_config(self._sampler_config, clip_sample=False)
        scheduler.set_timesteps(sampler.steps)
        latents = noise.to(self.device)
        for timestep in scheduler.timesteps:
            pause()
            times = timestep.expand(len(latents)).to(self.device)
            answer = self.predict(latents, times, conditions)
            if sampler.guidance != 1:
                away = self.predict(latents, times, negative)
                answer = away + sampler.guidance * (answer - away)
            latents = scheduler.step(answer, timestep, latents).prev_sample
        return torch.as_tensor(self.vae.decode(latents / self._scale).sample)

    def _autocast(self) -> AbstractContextManager[None]:
        """Let float32 adapters compute in the denoiser's number format."""
        return torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)


def _silence_progress_bars() -> None:
    """Keep the libraries' progress bars out of the pod's log, which people read."""
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
