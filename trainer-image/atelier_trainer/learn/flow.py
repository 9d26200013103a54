"""Rectified flow as FLUX.1 trains it: noising, target and how noise is spread, in closed form.

With x the clean latents, ε the noise and σ the share of noise, from above 0 to 1:

    noised latents    (1 - σ) · x + σ · ε                 Liu et al. 2022, equation 1; Esser et al. 2024, section 2
    target            ε - x                               its derivative by σ, whatever σ
    drawing σ         u = 1 / (1 + exp(-n)), n normal     logit-normal, Esser et al. 2024, section 3.1: rf/lognorm(0, 1)
    shifting          σ = f · u / (1 + (f - 1) · u)       the same, section 5.3.2, equation 23
    f                 exp(μ), μ linear in the tokens of the picture, or fixed: the scheduler's config

A larger picture needs more noise before as little is left of it, hence the shift by size. Each row of a batch has a σ
of its own: the noise it gets and what the denoiser is told must both be the row's.

In and out: tensors. It knows no model. Shapes: B batch, C channels, H and W of the latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Shift:
    """How far towards noise the shares are shifted: the scheduler's config, whose names these are."""

    is_dynamic: bool
    """Whether the shift depends on the size."""
    fixed: float = 1.0
    """f where it does not; 1 shifts nothing."""
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096
    is_exponential: bool = True
    """Whether f is exp(μ); else it is μ itself."""

    def factor(self, tokens: int) -> float:
        """Return f for a picture of so many tokens (patches that the denoiser reads)."""
        if not self.is_dynamic:
            return self.fixed
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        mu = self.base_shift + slope * (tokens - self.base_tokens)
        return math.exp(mu) if self.is_exponential else mu


def shift_sigmas(sigmas: Tensor, factor: float) -> Tensor:
    """Return shares of noise shifted by a factor; 0 and 1 stay."""
    return factor * sigmas / (1 + (factor - 1) * sigmas)


def draw_sigma(generator: Generator, factor: float) -> Tensor:
    """Draw one share of noise for training, a float32 scalar in (0, 1)."""
    return shift_sigmas(torch.randn((), generator=generator).sigmoid(), factor)


def add_noise(latents: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Return latents [B, C, H, W] noised to a share of their own each [B]."""
    share = sigmas.view(-1, 1, 1, 1)
    return (1 - share) * latents + share * noise


def find_target(latents: Tensor, noise: Tensor) -> Tensor:
    """Return the velocity from picture to noise, [B, C, H, W]."""
    return noise - latents


def spread_sigmas(steps: int, factor: float) -> Tensor:
    """Return the shares at which a picture is drawn, from 1 down to 0, [steps + 1] float32, shifted."""
    sigmas = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    return torch.cat([shift_sigmas(sigmas, factor), torch.zeros(1)]).float()
