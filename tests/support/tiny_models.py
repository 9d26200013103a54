"""Tiny base models of each family with random weights, written as diffusers folders in well under a second each.

Every part is an instance of the real class with few and narrow layers, put together by the family's real pipeline, so
that folders, configs, tensor names and loaders' rules are the published ones. What a checkpoint of the family fixes
(depth of the autoencoder, its scale and shift, noise schedule, kinds of blocks, size of the time condition) is kept;
what costs time (widths, numbers of layers, vocabulary) is not. The weights know nothing: what is drawn is noise.
"""

from __future__ import annotations

from collections.abc import Callable
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

CLIP_TOKENIZER = Path(__file__).resolve().parents[2] / "playground" / "base-model" / "weights" / "tokenizer"
TEXT_WIDTH = 32
XL_WIDTHS = (32, 48)
"""Of both encoders of Stable Diffusion XL, unequal so that exchanged ones do not fit."""
POOLED_WIDTH = 40
"""Of the second encoder's projection, unequal to everything else."""
TIME_WIDTH = 8
T5_WIDTH = 32
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
"""Of the published scheduler configs of Stable Diffusion 1 and XL alike."""
T5_PIECES = ("▁a", "▁the", "▁of", "▁red", "▁blue", "▁star", "▁teapot", "▁photo")
T5_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"-_()<>|"


def write_stable_diffusion_1(folder: Path, *, prediction: str = "epsilon", text_width: int = TEXT_WIDTH) -> Path:
    """Write a Stable Diffusion 1 model and return its folder.

    Args:
        folder: made where it is missing.
        prediction: `epsilon` or `v_prediction`.
        text_width: 768 is what tools recognise the family by, at 5 million parameters.
    """
    with torch.random.fork_rng():
        torch.manual_seed(1)
        StableDiffusionPipeline(
            vae=_build_autoencoder(4, scaling_factor=0.18215),
            text_encoder=CLIPTextModel(_describe_clip(text_width)),
            tokenizer=_read_tokenizer(),
            unet=_build_unet(text_width, heads=2),
            scheduler=PNDMScheduler(**NOISE, prediction_type=prediction, skip_prk_steps=True, set_alpha_to_one=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def write_stable_diffusion_xl(
    folder: Path,
    *,
    prediction: str = "epsilon",
    zero_terminal: bool = False,
    zeros_for_empty: bool = True,
    text_widths: tuple[int, int] = XL_WIDTHS,
) -> Path:
    """Write a Stable Diffusion XL model and return its folder.

    Args:
        folder: made where it is missing.
        prediction: `epsilon` or `v_prediction`.
        zero_terminal: whether nothing is left of the picture at the last timestep.
        zeros_for_empty: what the model index says of an absent negative prompt; true in the published base.
        text_widths: of both encoders; 768 and 1280 are what tools recognise the family by, at 20 million parameters.
    """
    first, second = text_widths
    with torch.random.fork_rng():
        torch.manual_seed(2)
        StableDiffusionXLPipeline(
            vae=_build_autoencoder(4, scaling_factor=0.13025),
            text_encoder=CLIPTextModel(_describe_clip(first)),
            text_encoder_2=CLIPTextModelWithProjection(
                _describe_clip(second, hidden_act="gelu", projection_dim=POOLED_WIDTH)
            ),
            tokenizer=_read_tokenizer(),
            tokenizer_2=_read_tokenizer(pad_token="!"),
            unet=_build_unet(
                first + second,
                heads=(2, 2, 4),
                transformer_layers_per_block=(1, 1, 2),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=TIME_WIDTH,
                projection_class_embeddings_input_dim=6 * TIME_WIDTH + POOLED_WIDTH,
            ),
            scheduler=EulerDiscreteScheduler(
                **NOISE, prediction_type=prediction, timestep_spacing="leading", rescale_betas_zero_snr=zero_terminal
            ),
            force_zeros_for_empty_prompt=zeros_for_empty,
            add_watermarker=False,
        ).save_pretrained(folder)
    return folder


def write_flux(folder: Path, *, schnell: bool = False) -> Path:
    """Write a FLUX.1 model and return its folder: like dev, or like schnell (no guidance, no shift).

    Args:
        folder: made where it is missing.
        schnell: which of the two published kinds.
    """
    with torch.random.fork_rng():
        torch.manual_seed(3)
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                shift=1.0 if schnell else 3.0,
                use_dynamic_shifting=not schnell,
                base_shift=0.5,
                max_shift=1.15,
                base_image_seq_len=256,
                max_image_seq_len=4096,
            ),
            vae=_build_autoencoder(
                16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False
            ),
            text_encoder=CLIPTextModel(_describe_clip(TEXT_WIDTH)),
            tokenizer=_read_tokenizer(),
            text_encoder_2=T5EncoderModel(_describe_t5()),
            tokenizer_2=build_t5_tokenizer(),
            transformer=FluxTransformer2DModel(
                in_channels=64,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=T5_WIDTH,
                pooled_projection_dim=TEXT_WIDTH,
                guidance_embeds=not schnell,
                axes_dims_rope=(4, 6, 6),
            ),
        ).save_pretrained(folder)
    return folder


WRITERS: dict[Architecture, Callable[[Path], Path]] = {
    Architecture.STABLE_DIFFUSION_1: write_stable_diffusion_1,
    Architecture.STABLE_DIFFUSION_XL: write_stable_diffusion_xl,
    Architecture.FLUX_1: write_flux,
}


def build_t5_tokenizer() -> T5Tokenizer:
    """Return a tokenizer of the real class that knows a few words and spells all others."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [("▁", -3.0), *((piece, -2.0) for piece in T5_PIECES), *((letter, -4.0) for letter in T5_LETTERS)]
    return T5Tokenizer(vocab=special + pieces, extra_ids=0, model_max_length=512)


def _read_tokenizer(**changes: Any) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(CLIP_TOKENIZER, local_files_only=True, **changes)


def _describe_clip(width: int, **changes: Any) -> CLIPTextConfig:
    """Return the config of a text encoder of two layers: the last but one is not yet the embedding."""
    tokenizer = _read_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * min(width, 64),
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **({"projection_dim": width} | changes),
    )


def _describe_t5() -> T5Config:
    return T5Config(
        vocab_size=len(build_t5_tokenizer()),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )


def _build_autoencoder(latent_channels: int, **changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 8, 8, 8),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        sample_size=64,
        force_upcast=True,
        **changes,
    )


def _build_unet(text_width: int, *, heads: int | tuple[int, ...], **changes: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=text_width,
        attention_head_dim=heads,
        **changes,
    )
