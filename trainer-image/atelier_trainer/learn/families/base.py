"""What every family of base models offers to training: one protocol.

A family knows its own parts, its prediction target and its sampler, and nothing of what is trained (that is a method's)
or of data. Shapes: B batch, C latent channels, H and W of the latents, S tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Generator, Size, Tensor, device, nn

from atelier_contract.architectures import Architecture
from atelier_trainer.learn.families.parts import Part

Conditions = Mapping[str, Tensor]
"""What the denoiser is told besides latents and timestep, by name; each [B, …]."""
TEXT = "text"
"""Of the conditions: a state of each token, [B, S, D]. Every family has it."""
POOLED = "pooled"
"""Of the conditions: one vector of the whole text, [B, D]. Stable Diffusion XL and FLUX.1 have it."""

Pause = Callable[[], None]
"""Called between forward passes of long work; may raise to leave it."""


@dataclass(frozen=True)
class Posterior:
    """What the picture encoder says of one picture, in the denoiser's scale."""

    mean: Tensor
    """[1, C, H, W] float32."""
    deviation: Tensor
    """[1, C, H, W] float32, not negative."""


@dataclass(frozen=True)
class Encoder:
    """A text encoder with its tokenizer."""

    tokenizer: Any
    part: Part[nn.Module]

    @property
    def model(self) -> nn.Module:
        """The encoder on its device."""
        return self.part.model


@dataclass(frozen=True)
class SamplerSettings:
    """How a sample picture is denoised."""

    steps: int
    guidance: float
    """Of a family with negative prompts: 1 is the prompt alone, above leads away from the negative prompt. Else the
    strength that a distilled denoiser is told, or without meaning."""


class Family(Protocol):
    """One loaded base model."""

    architecture: Architecture
    device: device
    encoders: dict[str, Encoder]
    """Text encoders by the name of their folder."""
    latent_channels: int
    pixels_per_latent: int
    """Picture side divided by latent side."""
    prediction: str
    """What the denoiser answers: `epsilon` or `v`, as ModelSpec spells it, or `flow`."""
    without_negative: Literal["empty text", "zeros", "nothing"]
    """What guidance leads away from where no negative prompt is given. `nothing`: the family has no such guidance, and
    negative prompts are not read at all."""

    def start_denoiser(self) -> None:
        """Begin to read the denoiser, which takes its memory, in the background."""

    @property
    def denoiser(self) -> nn.Module:
        """The model that is trained or adapted. Asking for it waits until it is read.

        Raises:
            BaseModelUnusable: it does not load.
        """

    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the posterior of one picture [1, 3, H, W] in [-1, 1]."""

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return the conditions of texts; gradients flow where the encoder's parameters ask for them."""

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return how many tokens a text has and how many are read."""

    def rest_text(self) -> None:
        """Let the text encoders leave memory, the device's and the host's: none of them may have changed.

        Where they are used again they are there for as long as the call takes.
        """

    def rest_pictures(self) -> None:
        """Let the picture encoder leave memory, as `rest_text`."""

    def draw_timestep(self, generator: Generator, latent_shape: Size) -> Tensor:
        """Draw one training timestep for latents of a shape [C, H, W], a scalar on the CPU.

        Discrete families draw a whole number, int64; flows a share of noise in (0, 1), float32, shifted by size.
        """

    def grid(self, count: int) -> Tensor:
        """Return `count` timesteps spread evenly over training's, [count], in the form `draw_timestep` has."""

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
