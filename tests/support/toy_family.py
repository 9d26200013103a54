"""A base model that computes next to nothing and counts what it is asked: for tests of what is fed to one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from atelier_contract.architectures import Architecture
from atelier_trainer.learn.captions import Wording
from atelier_trainer.learn.families.base import Conditions, Encoder, Pause, Posterior, SamplerSettings
from atelier_trainer.records import Picture

PIXELS_PER_LATENT = 8
MODEL = "m" * 64


def no_pause() -> None:
    """Never leave."""


@dataclass
class ToyFamily:
    """One channel of grey means, an even deviation, and texts as numbers of their digest."""

    deviation: float = 0.5
    encoded_pictures: int = 0
    encoded_texts: list[str] = field(default_factory=list)
    drawn: int = 0
    architecture: Architecture = Architecture.STABLE_DIFFUSION_1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    encoders: dict[str, Encoder] = field(default_factory=dict)
    latent_channels: int = 1
    pixels_per_latent: int = PIXELS_PER_LATENT
    prediction: str = "epsilon"
    without_negative: Any = "empty text"
    denoiser: nn.Module = field(default_factory=nn.Identity)

    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the mean grey of each block of pixels, plus a third, which no short fraction is."""
        self.encoded_pictures += 1
        mean = functional.avg_pool2d(pixels.mean(dim=1, keepdim=True), PIXELS_PER_LATENT) + 1 / 3
        return Posterior(mean, torch.full_like(mean, self.deviation))

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return eight numbers of each text's digest, [B, 8]."""
        self.encoded_texts += texts
        rows = [list(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return {"text": torch.tensor(rows, dtype=torch.float32) / 255}

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return a text's words and a limit."""
        return len(text.split()), 75

    def start_denoiser(self) -> None:
        """Read nothing: it is there."""

    def rest_text(self) -> None:
        """Keep what takes no memory."""

    def rest_pictures(self) -> None:
        """Keep what takes no memory."""

    def draw_timestep(self, generator: Generator, latent_shape: torch.Size) -> Tensor:
        """Draw a whole number below 1,000."""
        return torch.randint(1000, (), generator=generator)

    def grid(self, count: int) -> Tensor:
        """Return even timesteps."""
        return torch.arange(count) * 1000 // count

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the sum."""
        return latents + noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noise."""
        return noise

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Return ones."""
        return torch.ones(len(timesteps))

    def predict(self, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Return what it is given."""
        return noisy

    def sample(
        self, noise: Tensor, conditions: Conditions, negative: Conditions, sampler: SamplerSettings, pause: Pause
    ) -> Tensor:
        """Draw noise as it is, enlarged to pixels."""
        self.drawn += 1
        pause()
        return functional.interpolate(noise, scale_factor=PIXELS_PER_LATENT).expand(-1, 3, -1, -1)


@dataclass
class ToyMethod:
    """A method that trains nothing; its text encoder learns until a step, where told."""

    learns_until: int = 0
    is_stochastic: bool = False
    wording: Wording = field(default_factory=lambda: Wording("tkxw"))

    @property
    def has_live_text(self) -> bool:
        """Return whether its encoder ever learns."""
        return self.learns_until > 0

    def learns_text_at(self, step: int) -> bool:
        """Return whether its encoder learns in a step."""
        return step < self.learns_until

    def rewrite(self, text: str) -> str:
        """Return the text as the tokenizer sees it."""
        return text.replace("tkxw", "tk xw")


def put_picture(folder: Path, name: str, size: tuple[int, int] = (64, 64), shade: int = 0, **more: Any) -> Picture:
    """Write a picture, a slope of grey that no other shade has, and return it as the run knows it."""
    path = folder / f"{name}.png"
    row = torch.arange(size[0]) * 255 // size[0]
    levels = ((row.expand(size[1], -1) + shade) % 256).to(torch.uint8).numpy()
    Image.fromarray(levels).convert("RGB").save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(Picture(path, digest, caption=name, name=f"photos/{name}.png"), **more)


def put_mask(path: Path, size: tuple[int, int] = (64, 64), white: tuple[int, int, int, int] = (0, 0, 32, 64)) -> Path:
    """Write a black mask with one white rectangle (left, top, right, bottom) and return its path."""
    mask = Image.new("L", size, 0)
    mask.paste(255, white)
    mask.save(path, "PNG")
    return path
