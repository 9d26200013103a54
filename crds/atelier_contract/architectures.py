"""The families of base models, and the few facts of them that need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Architecture(StrEnum):
    """A base model's family."""

    STABLE_DIFFUSION_1 = "StableDiffusion1"
    STABLE_DIFFUSION_XL = "StableDiffusionXL"
    FLUX_1 = "Flux1"


@dataclass(frozen=True)
class ArchitectureFacts:
    """What operator and studio must know of a family without loading it."""

    title: str
    resolution_px: int
    """Native side of a square training picture."""
    parts: tuple[str, ...]
    """Folders of a diffusers checkpoint that must be there."""
    embeddings: bool
    """Whether a textual inversion can be trained."""
    weighs_noise: bool = True
    """Whether its loss knows min-SNR weights: flow matching has none."""
    negative_prompt: bool = True
    """Whether its samples are led away from a negative prompt: distilled guidance is led by a number alone."""
    adapts_text: bool = True
    """Whether a concept model may adapt its text encoders."""
    convolutions: bool = True
    """Whether its denoiser has any."""


FACTS = {
    Architecture.STABLE_DIFFUSION_1: ArchitectureFacts(
        "Stable Diffusion 1", 512, ("unet", "vae", "text_encoder", "tokenizer", "scheduler"), embeddings=True
    ),
    Architecture.STABLE_DIFFUSION_XL: ArchitectureFacts(
        "Stable Diffusion XL",
        1024,
        ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
        embeddings=True,
    ),
    Architecture.FLUX_1: ArchitectureFacts(
        "FLUX.1",
        1024,
        ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
        embeddings=False,
        weighs_noise=False,
        negative_prompt=False,
        adapts_text=False,
        convolutions=False,
    ),
}
"""Folder names and native sizes: the published diffusers checkpoints of each family."""
