"""What every family of base models offers to training: one protocol.

A family knows its own parts, its prediction target and its sampler, and nothing of what is trained (that is a method's)
or of data. Shapes: B batch, C latent channels, H and W of the latents, S tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Generator, Tensor, device, nn

from atelier_contract.architectures import Architecture

Conditions = Mapping[str, Tensor]
"""What the denoiser is told besides latents and timestep, by name; each [B, …]. One name for Stable Diffusion 1, more
for families with several encoders."""

Pause = Callable[[], None]
"""Called between forward passes of long work; may raise to leave it."""


@dataclass(frozen=True)
class Posterior:
    """What the picture encoder says of one picture, in the denoiser's scale."""

    mean: Tensor
    """[1, C, H, W] float32."""
    deviation: Tensor
    """[1, C, H, W] float32, not negative."""


@dataclass
class Encoder:
    """A text encoder with its tokenizer."""

    tokenizer: Any
    model: nn.Module


@dataclass(frozen=True)
class SamplerSettings:
    """How a sample picture is denoised."""

    steps: int
    guidance: float
    """1: the prompt alone; above: away from the negative prompt."""


class Family(Protocol):
    """One loaded base model."""

    architecture: Architecture
    device: device
    denoiser: nn.Module
    encoders: dict[str, Encoder]
    """Text encoders by the name of their folder."""
    latent_channels: int
    pixels_per_latent: int
    """Picture side divided by latent side."""
    prediction: str
    """What the denoiser answers: `epsilon` or `v`, as ModelSpec spells it."""

    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the posterior of one picture [1, 3, H, W] in [-1, 1]."""

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the conditions of texts; gradients flow where the encoder's parameters ask for them."""

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return how many tokens a text has and how many are read."""

    def draw_timestep(self, generator: Generator) -> Tensor:
        """Draw one training timestep, a scalar on the CPU."""

    def grid(self, count: int) -> Tensor:
        """Return `count` timesteps spread evenly over training's, [count]."""

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return latents [B, C, H, W] noised to their timesteps [B]."""

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the denoiser should answer, [B, C, H, W]."""

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Return loss weights [B] float32."""

    def predict(self, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Return the denoiser's answer, [B, C, H, W] float32."""

    def sample(
        self, noise: Tensor, conditions: Conditions, negative: Conditions, sampler: SamplerSettings, pause: Pause
    ) -> Tensor:
        """Denoise pure noise [B, C, H, W] with the denoiser that is being trained; return pixels [B, 3, H, W]."""
