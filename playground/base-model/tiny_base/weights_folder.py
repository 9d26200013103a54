"""The folder that a diffusers pipeline loads: written in half precision, read in full.

In: the trained parts. Out: `weights/` with the layout of Stable Diffusion 1.5, digests beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from tiny_base.denoiser import build_scheduler

TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json")
"""transformers 5 writes tokenizer.json alone; other tools look for Stable Diffusion 1.5's own files."""
ENCODER_PREFIX = "text_model."
"""Before every name in the text encoder's file, as in Stable Diffusion 1.5's. transformers 5.23 reads names with and
without it and writes them without; 5.5 and earlier find nothing without it, warn, and go on with random weights."""


def write_weights(
    folder: Path,
    tokenizer: Path,
    text_encoder: CLIPTextModel,
    autoencoder: AutoencoderKL,
    denoiser: UNet2DConditionModel,
) -> None:
    """Write all parts as safetensors in half precision, with the `tokenizer` folder's own files."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=denoiser,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to("cpu", dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, folder / "tokenizer" / name)
    _prefix_encoder(folder / "text_encoder" / "model.safetensors")
    _make_portable(folder)


def read_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """Load the folder in full precision on `device`, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def list_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of weights, by its path inside the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def _prefix_encoder(path: Path) -> None:
    """Rename the text encoder's tensors to the names that every release of transformers reads."""
    tensors = load_file(path)
    named = {f"{ENCODER_PREFIX}{name.removeprefix(ENCODER_PREFIX)}": tensor for name, tensor in tensors.items()}
    save_file(named, path, metadata={"format": "pt"})


def _make_portable(folder: Path) -> None:
    """Let every user read the files (safetensors makes them private) and drop the builder's paths from the configs."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in folder.glob("*/config.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
