"""Discrete diffusion with a UNet: what Stable Diffusion 1 and XL share.

Both noise by a schedule of a thousand steps, predict noise or velocity, and are drawn by DDIM with classifier-free
guidance. They differ in what they are told of a text, which is each family's own file. Every figure that differs
between checkpoints (scale and size of the latents, prediction type, noise schedule) is read from their configs.

Loading: encoders and VAE at once, the UNet in the background when it is told to. Knows neither methods nor data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Generator, Size, Tensor, nn

from atelier_contract.architectures import Architecture
from atelier_contract.tuning import Quantization
from atelier_trainer.learn.families.base import TEXT, Conditions, Encoder, Pause, Posterior, SamplerSettings
from atelier_trainer.learn.families.clip import count_tokens
from atelier_trainer.learn.families.codec import Codec
from atelier_trainer.learn.families.loading import (
    DiffusersFolder,
    silence_progress_bars,
    translate_refusals,
)
from atelier_trainer.learn.families.parts import freeze, rest_parts
from atelier_trainer.learn.noising import NoiseSchedule

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
"""diffusers' names of prediction types, and ModelSpec's."""
CHANNELS_LAST = "channels_last"


class DiscreteDiffusion(ABC):
    """A loaded base model. All parts are frozen; methods thaw or add what they train."""

    architecture: Architecture
    without_negative: Literal["empty text", "zeros", "nothing"] = "empty text"

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        denoiser_dtype: torch.dtype,
        layout: str,
        quantization: Quantization = "none",
    ) -> None:
        """Load the parts.

        Args:
            folder: checkpoint in the diffusers layout.
            device: where to compute.
            denoiser_dtype: number format of the UNet; encoders are always float32, they run once a picture and text.
            layout: `contiguous` or `channels_last`, of the UNet's weights.
            quantization: bits of the UNet's frozen linear layers.

        Raises:
            BaseModelUnusable: a part other than the UNet is missing or not of this family.
        """
        self.device = device
        self._dtype, self._layout = denoiser_dtype, layout
        silence_progress_bars()
        opened = DiffusersFolder(folder, quantization)
        with translate_refusals(self.architecture):
            self.encoders = self._load_encoders(opened)
            self._codec = Codec(opened.load_autoencoder, device)
            self._sampler_config: Any = DDPMScheduler.from_config(opened.read_config("scheduler")).config
            self.schedule = read_schedule(self._sampler_config, device)
            self._pending = opened.open_denoiser("unet", UNet2DConditionModel, denoiser_dtype, device)
        self.prediction = PREDICTIONS[self.schedule.prediction]
        self.latent_channels = self._codec.latent_channels
        self.pixels_per_latent = self._codec.pixels_per_latent

    @abstractmethod
    def _load_encoders(self, folder: DiffusersFolder) -> dict[str, Encoder]:
        """Load the text encoders by the names of their folders."""

    @abstractmethod
    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the conditions of texts."""

    def _add_conditions(self, noisy: Tensor, conditions: Conditions) -> dict[str, Any]:  # noqa: ARG002 - for families
        """Return what the UNet is told besides latents, timesteps and token states; nothing unless a family adds it."""
        return {}

    def start_denoiser(self) -> None:
        """Begin to read the UNet in the background."""
        self._pending.start()

    @cached_property
    def denoiser(self) -> nn.Module:
        """The UNet, once it is read."""
        with translate_refusals(self.architecture):
            unet = freeze(self._pending.wait())
        return unet.to(memory_format=torch.channels_last) if self._layout == CHANNELS_LAST else unet

    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the posterior of one picture [1, 3, H, W] in [-1, 1], scaled by the VAE's own factor."""
        return self._codec.encode(pixels)

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return how many tokens a text has and how many are read. All encoders of a family read alike."""
        return count_tokens(next(iter(self.encoders.values())), text)

    def rest_text(self) -> None:
        """Let the text encoders leave memory."""
        rest_parts(*(encoder.part for encoder in self.encoders.values()))

    def rest_pictures(self) -> None:
        """Let the VAE leave memory."""
        rest_parts(self._codec.part)

    def draw_timestep(self, generator: Generator, latent_shape: Size) -> Tensor:  # noqa: ARG002 - other families shift
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
        answer = self.denoiser(
            noisy.to(self._dtype),
            timesteps,
            encoder_hidden_states=conditions[TEXT].to(self._dtype),
            **self._add_conditions(noisy, conditions),
        ).sample
        return torch.as_tensor(answer).float()

    @torch.no_grad()
    def sample(
        self, noise: Tensor, conditions: Conditions, negative: Conditions, sampler: SamplerSettings, pause: Pause
    ) -> Tensor:
        """Denoise by DDIM (Song et al. 2021) with classifier-free guidance (Ho and Salimans 2022); return pixels."""
        scheduler = build_sampler(self._sampler_config, sampler.steps)
        latents = noise.to(self.device)
        for timestep in scheduler.timesteps:
            pause()
            times = timestep.expand(len(latents)).to(self.device)
            answer = self.predict(latents, times, conditions)
            if sampler.guidance != 1:
                away = self.predict(latents, times, negative)
                answer = away + sampler.guidance * (answer - away)
            latents = scheduler.step(answer, timestep, latents).prev_sample
        return self._codec.decode(latents)


def read_schedule(config: Any, device: torch.device) -> NoiseSchedule:
    """Return the noise schedule of a scheduler's config. With zero terminal SNR its last ᾱ is 0, as in training.

    Raises:
        ValueError: it predicts something that is not trained here.
    """
    if config.prediction_type not in PREDICTIONS:
        raise ValueError(f"prediction type {config.prediction_type!r} of scheduler_config.json")
    scheduler = DDPMScheduler.from_config(config)
    return NoiseSchedule(scheduler.alphas_cumprod.to(device), config.prediction_type)


def build_sampler(config: Any, steps: int) -> Any:
    """Return DDIM on a schedule, its steps set.

    Where nothing is left of the picture at the end of the schedule, drawing must begin there: with the usual spacing
    the first step would be told of a rest of picture that pure noise does not have (Lin et al. 2024, section 3.3).
    """
    spacing = {"timestep_spacing": "trailing"} if config.rescale_betas_zero_snr else {}
    scheduler = DDIMScheduler.from_config(config, clip_sample=False, **spacing)
    scheduler.set_timesteps(steps)
    return scheduler
