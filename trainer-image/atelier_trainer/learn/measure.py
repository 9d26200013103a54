"""The held-out loss of a published file, measured the way a user would load it: in a fresh diffusers pipeline.

For benchmarks and tests. It shares the grid's noise and the reading of pictures with training and nothing else, so that
a mistake in training cannot hide in its own measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from atelier_contract.dataset import ModelType
from atelier_trainer.learn.evaluation import TIMESTEPS, draw_grid_noise
from atelier_trainer.learn.pictures import read_pixels
from atelier_trainer.records import Picture


def open_pipeline(base_model: Path) -> Any:
    """Return a diffusers pipeline on a base model, float32, offline, without a progress bar."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        base_model, dtype=torch.float32, local_files_only=True, use_safetensors=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_published(pipeline: Any, file: Path, kind: ModelType, placeholder: str = "") -> None:
    """Load a published file with the one call that diffusers has for its kind."""
    if kind == "ConceptModel":
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
    else:
        pipeline.load_textual_inversion(file, token=placeholder)


@torch.no_grad()
def measure_pipeline(pipeline: Any, pictures: Sequence[Picture], texts: Sequence[str], resolution_px: int) -> float:
    """Return the mean squared error of the pipeline's denoiser over pictures and the timestep grid.

    Args:
        pipeline: of `open_pipeline`, with or without a published file.
        pictures: square pictures that no training saw.
        texts: what is said of each.
        resolution_px: side at which they are measured.
    """
    alphas = pipeline.scheduler.alphas_cumprod
    spread = len(alphas) / TIMESTEPS
    grid = [int((k + 0.5) * spread) for k in range(TIMESTEPS)]
    total = 0.0
    for picture, text in zip(pictures, texts, strict=True):
        pixels = read_pixels(picture.path, (resolution_px, resolution_px), flip=False)
        latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
        noise = torch.stack([draw_grid_noise(picture.sha256, t, latents.shape[1:]) for t in grid])
        strength = alphas[grid].view(-1, 1, 1, 1)
        noisy = strength.sqrt() * latents + (1 - strength).sqrt() * noise
        states = _encode_text(pipeline, text).expand(len(grid), -1, -1)
        answer = pipeline.unet(noisy, torch.tensor(grid), encoder_hidden_states=states).sample
        is_epsilon = pipeline.scheduler.config.prediction_type == "epsilon"
        target = noise if is_epsilon else strength.sqrt() * noise - (1 - strength).sqrt() * latents
        total += float((answer - target).square().mean())
    return total / len(pictures)


def _encode_text(pipeline: Any, text: str) -> torch.Tensor:
    converted = pipeline.maybe_convert_prompt(text, pipeline.tokenizer)
    tokens = pipeline.tokenizer(
        converted,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return torch.as_tensor(pipeline.text_encoder(tokens.input_ids)[0])
