"""What is measured of a base model: how well it rebuilds, how well it draws, how little it knows of a new concept.

In: a loaded pipeline and pictures. Out: plain numbers. The held-out loss is the trainer's own measure (eight timesteps,
posterior means, noise of the picture and the timestep, no weighting), written anew here, so that it can be compared.

Legend: N pictures, h w latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from tiny_base.autoencoder import encode_pixels, scale_pixels
from tiny_base.pictures import SIDE_PX, stack_pixels
from tiny_base.text_encoder import read_tokens

GRID = tuple(range(62, 1000, 125))
"""Eight timesteps, the middles of eight equal parts."""


@dataclass(frozen=True)
class Folder:
    """A folder of pictures with their captions."""

    pictures: list[Image.Image]
    captions: list[str]


def read_folder(folder: Path) -> Folder:
    """Read the pictures that have a caption file beside them, in the order of their names, at the model's size."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    pictures = []
    for path in paths:
        with Image.open(path) as opened:
            pictures.append(opened.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS))
    return Folder(pictures, [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths])


@torch.no_grad()
def measure_psnr(pipeline: StableDiffusionPipeline, pictures: Sequence[Image.Image]) -> float:
    """Peak signal-to-noise ratio in dB of rebuilt pictures; the mean square is over all of them."""
    pixels = torch.from_numpy(stack_pixels(pictures))
    rebuilt = pipeline.vae.decode(encode_pixels(pipeline.vae, pixels)).sample.clamp(-1, 1)
    error = float((rebuilt - scale_pixels(pixels)).square().mean())
    return 10 * math.log10(2.0**2 / error)


@torch.no_grad()
def measure_held_out_loss(
    pipeline: StableDiffusionPipeline, pictures: Sequence[Image.Image], captions: Sequence[str]
) -> float:
    """Mean square error of the predicted noise over the grid, under the given captions."""
    latents = encode_pixels(pipeline.vae, torch.from_numpy(stack_pixels(pictures)))
    latents = latents * pipeline.vae.config.scaling_factor
    states = pipeline.text_encoder(read_tokens(pipeline.tokenizer, captions)).last_hidden_state
    losses = []
    for time in GRID:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(time))
        share = pipeline.scheduler.alphas_cumprod[time]
        noisy = share.sqrt() * latents + (1 - share).sqrt() * noise
        times = torch.full((len(latents),), time)
        predicted = pipeline.unet(noisy, times, encoder_hidden_states=states).sample
        losses.append(float((predicted - noise).square().mean()))
    return sum(losses) / len(losses)


def draw_samples(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], seed: int, steps: int = 20, guidance: float = 3.0
) -> list[Image.Image]:
    """Draw one sample a prompt; sample i starts from noise of (seed, i)."""
    samples: list[Image.Image] = []
    for start in range(0, len(prompts), 32):
        rows = list(prompts[start : start + 32])
        generators = [torch.Generator().manual_seed(1000 * seed + start + row) for row in range(len(rows))]
        drawn = pipeline(rows, height=SIDE_PX, width=SIDE_PX, num_inference_steps=steps,
                         guidance_scale=guidance, generator=generators)  # fmt: skip
        samples += drawn.images
    return samples
