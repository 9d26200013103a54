"""Base models for the trainer's benchmark: real classes, random weights from a seed, written once as diffusers folders.

What a step costs depends on shapes, not on what the weights know. For the CPU there are two of Stable Diffusion 1: one
of a quarter of the width beside the real CLIP-L, where arithmetic rules, and one so narrow that the host's own work
does. For a GPU there are the real denoisers of all families; their encoders keep their widths and lose their depth,
because what they say is cached before the first step. Nothing is fetched: tokenizers are letters and made-up tokens.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from atelier_contract.architectures import Architecture

SEED = 4
RECIPE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
"""Of this file, in the models' names: other weights learn otherwise, and a model of an older recipe is another one."""
CLIP_VOCABULARY = 49_408
CLIP_LENGTH = 77
"""Tokens of a text in CLIP, and of its table in the published text encoders."""
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
"""Scheduler configs of Stable Diffusion 1 and XL as published."""
UNET_1: dict[str, Any] = {
    "sample_size": 64,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
"""Stable Diffusion 1.5's denoiser but for its width."""
UNET_XL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
FLUX_DEV: dict[str, Any] = {"guidance_embeds": True}
"""The rest of FLUX.1-dev's config are the class's own defaults."""


@dataclass(frozen=True)
class Shape:
    """A base model by its sizes."""

    name: str
    architecture: Architecture
    denoiser: Mapping[str, Any]
    vae_channels: tuple[int, int, int, int]
    """Real: 128, 256, 512, 512."""
    text_layers: int
    vocabulary: int
    dtype: torch.dtype = torch.float32
    vae_groups: int = field(default=8)


QUARTER = Shape(
    name="quarter",
    architecture=Architecture.STABLE_DIFFUSION_1,
    denoiser={**UNET_1, "block_out_channels": (80, 160, 320, 320), "norm_num_groups": 8},
    vae_channels=(32, 64, 128, 128),
    text_layers=12,
    vocabulary=CLIP_VOCABULARY,
)
"""A quarter of Stable Diffusion 1.5's width in denoiser and autoencoder, with CLIP-L as it is."""
NARROW = Shape(
    name="narrow",
    architecture=Architecture.STABLE_DIFFUSION_1,
    denoiser={**UNET_1, "block_out_channels": (16, 32, 64, 64), "norm_num_groups": 8},
    vae_channels=(8, 16, 16, 16),
    text_layers=1,
    vocabulary=1024,
)
"""As many layers as the real one and hardly any arithmetic: the host's work is left, which bounds a fast GPU."""
NARROW_XL = replace(
    NARROW,
    name="narrow-xl",
    architecture=Architecture.STABLE_DIFFUSION_XL,
    denoiser={
        **UNET_XL,
        "block_out_channels": (16, 32, 64),
        "norm_num_groups": 8,
        "attention_head_dim": (1, 2, 4),
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 1280,
    },
    text_layers=2,
)
NARROW_FLUX = replace(
    NARROW,
    name="narrow-flux",
    architecture=Architecture.FLUX_1,
    denoiser={**FLUX_DEV, "attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 6, 6)},
)
"""The other families at their real depth: operations of a step do not depend on widths."""
REAL = {
    shape.architecture: shape
    for shape in (
        Shape(
            name="stable-diffusion-1.5",
            architecture=Architecture.STABLE_DIFFUSION_1,
            denoiser={**UNET_1, "block_out_channels": (320, 640, 1280, 1280)},
            vae_channels=(8, 16, 16, 16),
            text_layers=1,
            vocabulary=1024,
            dtype=torch.bfloat16,
        ),
        Shape(
            name="stable-diffusion-xl",
            architecture=Architecture.STABLE_DIFFUSION_XL,
            denoiser=UNET_XL,
            vae_channels=(8, 16, 16, 16),
            text_layers=2,
            vocabulary=1024,
            dtype=torch.bfloat16,
        ),
        Shape(
            name="flux.1-dev",
            architecture=Architecture.FLUX_1,
            denoiser=FLUX_DEV,
            vae_channels=(8, 16, 16, 16),
            text_layers=1,
            vocabulary=1024,
            dtype=torch.bfloat16,
        ),
    )
}
"""The published denoisers, for a GPU."""


def write_model(shape: Shape, folder: Path, device: str = "cpu") -> Path:
    """Write a base model below a folder, unless it is there, and return its own folder.

    Args:
        shape: its sizes.
        folder: of all models; made where it is missing.
        device: where the denoiser's weights are drawn; a GPU is quicker for the large ones.
    """
    target = folder / f"{shape.name}-{SEED}-{RECIPE}"
    if target.exists():
        return target
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    torch.manual_seed(SEED)
    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        pipeline = BUILDERS[shape.architecture](shape, build_denoiser(shape, device), unfinished)
    finally:
        torch.set_default_dtype(before)
    pipeline.save_pretrained(unfinished)
    return unfinished.rename(target)


def build_denoiser(shape: Shape, device: str) -> nn.Module:
    """Return a denoiser with random weights on a device, in the present default number format."""
    kind = FluxTransformer2DModel if shape.architecture is Architecture.FLUX_1 else UNet2DConditionModel
    with torch.device(device):
        denoiser: nn.Module = kind(**shape.denoiser)
    return denoiser


def _build_stable_diffusion_1(shape: Shape, denoiser: nn.Module, folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=_build_autoencoder(shape, 4, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(_describe_clip(shape, 768, 12)),
        tokenizer=_build_clip_tokenizer(shape, folder / "tokenizer"),
        unet=denoiser,
        scheduler=PNDMScheduler(**NOISE, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _build_stable_diffusion_xl(shape: Shape, denoiser: nn.Module, folder: Path) -> StableDiffusionXLPipeline:
    second = _describe_clip(shape, 1280, 20, hidden_act="gelu", projection_dim=1280)
    return StableDiffusionXLPipeline(
        vae=_build_autoencoder(shape, 4, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_describe_clip(shape, 768, 12)),
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=_build_clip_tokenizer(shape, folder / "tokenizer"),
        tokenizer_2=_build_clip_tokenizer(shape, folder / "tokenizer_2"),
        unet=denoiser,
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
        add_watermarker=False,
    )


def _build_flux(shape: Shape, denoiser: nn.Module, folder: Path) -> FluxPipeline:
    quantless = {"use_quant_conv": False, "use_post_quant_conv": False}
    t5 = T5Config(
        vocab_size=len(_list_t5_pieces()), d_model=4096, d_kv=64, d_ff=1024, num_layers=1, num_heads=8,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_build_autoencoder(shape, 16, scaling_factor=0.3611, shift_factor=0.1159, **quantless),
        text_encoder=CLIPTextModel(_describe_clip(shape, 768, 12)),
        tokenizer=_build_clip_tokenizer(shape, folder / "tokenizer"),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=T5Tokenizer(vocab=_list_t5_pieces(), extra_ids=0, model_max_length=512),
        transformer=denoiser,
    )


BUILDERS: dict[Architecture, Callable[[Shape, nn.Module, Path], Any]] = {
    Architecture.STABLE_DIFFUSION_1: _build_stable_diffusion_1,
    Architecture.STABLE_DIFFUSION_XL: _build_stable_diffusion_xl,
    Architecture.FLUX_1: _build_flux,
}


def _build_autoencoder(shape: Shape, latent_channels: int, **changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=shape.vae_channels,
        layers_per_block=2,
        latent_channels=latent_channels,
        norm_num_groups=shape.vae_groups,
        sample_size=512,
        **changes,
    )


def _describe_clip(shape: Shape, width: int, heads: int, **changes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=heads,
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=shape.vocabulary - 2,
        eos_token_id=shape.vocabulary - 1,
        pad_token_id=shape.vocabulary - 1,
        **{"projection_dim": width, **changes},
    )


def _build_clip_tokenizer(shape: Shape, folder: Path) -> CLIPTokenizer:
    """Return a tokenizer that spells every text in letters; made-up tokens fill its vocabulary."""
    begin, end = "<|startoftext|>", "<|endoftext|>"
    letters = _list_byte_letters()
    spelling = [*letters, *(letter + "</w>" for letter in letters)]
    made_up = [f"<filler-{number}>" for number in range(shape.vocabulary - len(spelling) - 2)]
    ids = {token: number for number, token in enumerate([*spelling, *made_up, begin, end])}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    names = {"bos_token": begin, "eos_token": end, "unk_token": end, "pad_token": end}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CLIP_LENGTH, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _list_byte_letters() -> list[str]:
    """List the printable letters that stand for bytes in byte-level vocabularies, printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]


def _list_t5_pieces() -> list[tuple[str, float]]:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"-_()<>|"
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    return special + [(letter, -2.0) for letter in letters]
