"""Discrete diffusion as the Stable Diffusion families train it: noising, targets and loss weights in closed form.

With ᾱ_t the cumulative product of the scheduler's alphas, x the clean latents and ε the noise:

    noised latents    √ᾱ_t · x + √(1 - ᾱ_t) · ε          Ho et al. 2020, equation 4
    epsilon target    ε                                   the same, equation 14
    v target          √ᾱ_t · ε - √(1 - ᾱ_t) · x          Salimans and Ho 2022, section 4
    SNR(t)            ᾱ_t / (1 - ᾱ_t)
    min-SNR weight    min(SNR, γ) / SNR for epsilon, min(SNR, γ) / (SNR + 1) for v    Hang et al. 2023, section 3.4

In and out: tensors. It knows no model. Shapes: B batch, C channels, H and W of the latents, T training timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class NoiseSchedule:
    """How strong the noise is at each timestep, and what the denoiser is asked for."""

    alphas: Tensor
    """ᾱ, [T] float32, falling from nearly 1 to nearly 0."""
    prediction: Prediction

    @property
    def timesteps(self) -> int:
        """Number of training timesteps, T."""
        return len(self.alphas)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return latents [B, C, H, W] noised to their own timestep each [B]."""
        signal, sigma = self._scales(timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the denoiser should answer, [B, C, H, W]."""
        if self.prediction == "epsilon":
            return noise
        signal, sigma = self._scales(timesteps)
        return signal * noise - sigma * latents

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Return min-SNR loss weights, [B] float32, all 1 when gamma is 0.

        The epsilon form is computed as min(1, γ / SNR), which is the same and holds at SNR 0.
        """
        if gamma == 0:
            return torch.ones(timesteps.shape, dtype=torch.float32, device=timesteps.device)
        alphas = self.alphas.to(timesteps.device)[timesteps]
        snr = alphas / (1 - alphas)
        if self.prediction == "epsilon":
            return (gamma / snr).clamp(max=1.0)
        return snr.clamp(max=gamma) / (snr + 1)

    def _scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return √ᾱ and √(1 - ᾱ), each [B, 1, 1, 1]."""
        alphas = self.alphas.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()
