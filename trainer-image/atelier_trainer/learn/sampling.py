"""Sample pictures of a checkpoint, drawn with the denoiser that is being trained and with the same noise every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from atelier_contract.settings import ValidationSettings
from atelier_trainer.learn.draws import build_generator
from atelier_trainer.learn.families.base import Conditions, Family, Pause, SamplerSettings
from atelier_trainer.learn.pictures import to_picture


@torch.no_grad()
def draw_samples(
    family: Family,
    encode: Callable[[Sequence[str]], Conditions],
    prompts: Sequence[str],
    validation: ValidationSettings,
    pause: Pause,
    *,
    resolution_px: int,
) -> list[Image.Image]:
    """Return one square picture per prompt.

    The noise follows from the validation seed and the prompt's index, so that a prompt's pictures differ from
    checkpoint to checkpoint by what was learned. One picture is drawn at a time: memory stays below a training step's.
    """
    side = resolution_px // family.pixels_per_latent
    shape = (1, family.latent_channels, side, side)
    sampler = SamplerSettings(validation.sampler_steps, validation.guidance)
    negative = encode_negative(family, encode, validation.negative_prompt)
    pictures = []
    for index, prompt in enumerate(prompts):
        noise = torch.randn(shape, generator=build_generator(validation.seed, "sample", index))
        pixels = family.sample(noise, encode([prompt]), negative, sampler, pause)
        pictures.append(to_picture(pixels[0]))
    return pictures


def encode_negative(family: Family, encode: Callable[[Sequence[str]], Conditions], text: str) -> Conditions:
    """Return what guidance leads away from; empty for a family that is not guided so.

    Without a negative prompt this is what the base model took for no text in its own training: the empty text, or
    zeros. Captions that are dropped in training are empty texts for all families, as most tools that draw say them.
    """
    if family.without_negative == "nothing":
        return {}
    conditions = encode([text])
    if text or family.without_negative == "empty text":
        return conditions
    return {name: torch.zeros_like(tensor) for name, tensor in conditions.items()}
