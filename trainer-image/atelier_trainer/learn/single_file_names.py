"""Where each tensor of a diffusers model lies in a checkpoint of one file: names, and what is cut or turned.

In: a tensor's name in diffusers or transformers. Out: a `Place`. The maps lead from the wanted names to the file's, so
that nothing a model needs can be left out unseen. Stability's layout numbers blocks in one row; a level of a UNet has
`layers` blocks and, but for the last, a change of size. FLUX has its own module. Layouts: the published checkpoints,
and the ldm, sgm and open_clip sources whose modules they were saved from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the file, without the part's prefix."""

    name: str
    turn: Callable[[Tensor], Tensor] | None = None
    """What is done to it; None: it is taken as it is."""


PlaceFinder = Callable[[str], Place]

RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.attentions.0.": "middle_block.1.",
}
UNET_BLOCK = re.compile(r"^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$")
VAE_BLOCK = re.compile(
    r"^(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)$"
)
VAE_MIDDLE = re.compile(r"^(encoder|decoder)\.mid_block\.resnets\.(\d)\.(.+)$")
VAE_ATTENTION = re.compile(
    r"^(encoder|decoder)\.mid_block\.attentions\.0\.(group_norm|to_q|to_k|to_v|to_out\.0)\.(.+)$"
)
VAE_ATTENTION_NAMES = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP_LAYER = re.compile(r"^encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
OPEN_CLIP_NAMES = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
TEXT_MODEL = "text_model."
"""transformers wrote this before every name of a text encoder until version 5; the files still have it."""


def place_unet(config: Mapping[str, Any]) -> PlaceFinder:
    """Return where a UNet's tensors lie in Stability's layout.

    Args:
        config: of the UNet; `layers_per_block` and the kinds of blocks count.
    """
    layers = int(config["layers_per_block"])
    with_attention = [str(kind).startswith("CrossAttn") for kind in config["up_block_types"]]

    def place(name: str) -> Place:
        if match := re.match(r"^mid_block\.resnets\.(\d)\.(.+)$", name):
            return Place(f"middle_block.{2 * int(match[1])}.{rename(match[2], RESNET)}")
        if match := UNET_BLOCK.match(name):
            side, level, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
            if side == "down":
                block = f"input_blocks.{1 + level * (layers + 1) + number}"
                resized = f"input_blocks.{(level + 1) * (layers + 1)}.0.op."
            else:
                block = f"output_blocks.{level * (layers + 1) + number}"
                resized = f"output_blocks.{level * (layers + 1) + layers}.{2 if with_attention[level] else 1}.conv."
            if kind in {"downsamplers", "upsamplers"}:
                return Place(resized + rest.removeprefix("conv."))
            return Place(f"{block}.0.{rename(rest, RESNET)}" if kind == "resnets" else f"{block}.1.{rest}")
        return Place(rename(name, UNET_ENDS))

    return place


def place_autoencoder(config: Mapping[str, Any]) -> PlaceFinder:
    """Return where a VAE's tensors lie in Stability's layout, which FLUX's VAE shares."""
    levels = len(config["block_out_channels"])

    def place(name: str) -> Place:
        if match := VAE_ATTENTION.match(name):
            is_kernel = match[2] != "group_norm" and match[3] == "weight"
            return Place(
                f"{match[1]}.mid.attn_1.{VAE_ATTENTION_NAMES[match[2]]}.{match[3]}", _flatten if is_kernel else None
            )
        if match := VAE_MIDDLE.match(name):
            return Place(f"{match[1]}.mid.block_{int(match[2]) + 1}.{_rename_shortcut(match[3])}")
        if match := VAE_BLOCK.match(name):
            side, level, kind, number, rest = match[1], int(match[2]), match[3], match[4], match[5]
            # The decoder's levels are counted from the picture's end in the file, from the latents' in diffusers.
            way, level = ("down", level) if side == "encoder" else ("up", levels - 1 - level)
            inside = f"block.{number}.{_rename_shortcut(rest)}" if kind == "resnets" else f"{way}sample.{rest}"
            return Place(f"{side}.{way}.{level}.{inside}")
        return Place(name.replace("conv_norm_out.", "norm_out."))

    return place


def place_clip(_: Mapping[str, Any]) -> PlaceFinder:
    """Return where the tensors of CLIP's text encoder lie: under transformers' own names."""
    return lambda name: Place(f"{TEXT_MODEL}{name.removeprefix(TEXT_MODEL)}")


def place_open_clip(_: Mapping[str, Any]) -> PlaceFinder:
    """Return where the tensors of XL's second encoder lie: under open_clip's names, the three projections in one."""

    def place(name: str) -> Place:
        name = name.removeprefix(TEXT_MODEL)
        if name == "text_projection.weight":
            return Place("text_projection", lambda tensor: tensor.T)
        if match := OPEN_CLIP_LAYER.match(name):
            layer, inside, kind = f"transformer.resblocks.{match[1]}", match[2], match[3]
            if inside in {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}:
                return Place(f"{layer}.attn.in_proj_{kind}", take_third("qkv".index(inside[-6])))
            return Place(f"{layer}.{OPEN_CLIP_NAMES[inside]}.{kind}")
        return Place(OPEN_CLIP_ENDS[name])

    return place


def place_t5(_: Mapping[str, Any]) -> PlaceFinder:
    """Return where the tensors of T5's encoder lie: under transformers' own names."""
    return lambda name: Place("shared.weight" if name == "encoder.embed_tokens.weight" else name)


def rename(name: str, starts: Mapping[str, str]) -> str:
    """Return a name with the first start that it has replaced."""
    for start, other in starts.items():
        if name.startswith(start):
            return other + name.removeprefix(start)
    return name


def _rename_shortcut(name: str) -> str:
    return name.replace("conv_shortcut.", "nin_shortcut.")


def take_third(third: int) -> Callable[[Tensor], Tensor]:
    """Return what takes one of three tensors that lie in one, row after row."""
    return lambda tensor: tensor.chunk(3)[third]


def _flatten(kernel: Tensor) -> Tensor:
    """Return the matrix of a 1x1 convolution [out, in, 1, 1]."""
    return kernel.flatten(1)
