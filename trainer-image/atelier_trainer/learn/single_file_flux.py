"""Where each tensor of diffusers' FLUX transformer lies in the file that its authors published.

In: a tensor's name in diffusers. Out: a `Place`. The file keeps the projections of queries, keys and values as one
matrix, in single blocks with the MLP's first layer behind them, and shift before scale where diffusers has scale first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, cat

from atelier_trainer.learn.single_file_names import Place, PlaceFinder, rename, take_third

FLUX_ENDS = {
    "time_text_embed.timestep_embedder.linear_1.": "time_in.in_layer.",
    "time_text_embed.timestep_embedder.linear_2.": "time_in.out_layer.",
    "time_text_embed.text_embedder.linear_1.": "vector_in.in_layer.",
    "time_text_embed.text_embedder.linear_2.": "vector_in.out_layer.",
    "time_text_embed.guidance_embedder.linear_1.": "guidance_in.in_layer.",
    "time_text_embed.guidance_embedder.linear_2.": "guidance_in.out_layer.",
    "context_embedder.": "txt_in.",
    "x_embedder.": "img_in.",
    "proj_out.": "final_layer.linear.",
}
FLUX_DOUBLE = {
    "norm1.linear.": "img_mod.lin.",
    "norm1_context.linear.": "txt_mod.lin.",
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
    "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    "attn.to_out.0.": "img_attn.proj.",
    "attn.to_add_out.": "txt_attn.proj.",
    "ff.net.0.proj.": "img_mlp.0.",
    "ff.net.2.": "img_mlp.2.",
    "ff_context.net.0.proj.": "txt_mlp.0.",
    "ff_context.net.2.": "txt_mlp.2.",
}
FLUX_SINGLE = {
    "norm.linear.": "modulation.lin.",
    "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
    "proj_out.": "linear2.",
}
FLUX_THIRDS = {
    "attn.to_q.": ("img_attn.qkv.", 0),
    "attn.to_k.": ("img_attn.qkv.", 1),
    "attn.to_v.": ("img_attn.qkv.", 2),
    "attn.add_q_proj.": ("txt_attn.qkv.", 0),
    "attn.add_k_proj.": ("txt_attn.qkv.", 1),
    "attn.add_v_proj.": ("txt_attn.qkv.", 2),
}
FLUX_FUSED = ("attn.to_q.", "attn.to_k.", "attn.to_v.", "proj_mlp.")
"""Rows of a single block's `linear1`, in this order: three of the model's width, then the MLP."""
FLUX_BLOCK = re.compile(r"^(single_)?transformer_blocks\.(\d+)\.(.+)$")


def place_flux(config: Mapping[str, Any]) -> PlaceFinder:
    """Return where a FLUX transformer's tensors lie in the file of its authors.

    Args:
        config: of the transformer; its width is the number of heads times their size.
    """
    width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])

    def place(name: str) -> Place:
        if match := FLUX_BLOCK.match(name):
            block, rest = f"{'single' if match[1] else 'double'}_blocks.{match[2]}.", match[3]
            return _place_single(block, rest, width) if match[1] else _place_double(block, rest)
        if name.startswith("norm_out.linear."):
            return Place(name.replace("norm_out.linear.", "final_layer.adaLN_modulation.1."), _swap_halves)
        return Place(rename(name, FLUX_ENDS))

    return place


def _place_double(block: str, rest: str) -> Place:
    for start, (fused, third) in FLUX_THIRDS.items():
        if rest.startswith(start):
            return Place(block + fused + rest.removeprefix(start), take_third(third))
    return Place(block + rename(rest, FLUX_DOUBLE))


def _place_single(block: str, rest: str, width: int) -> Place:
    for number, start in enumerate(FLUX_FUSED):
        if rest.startswith(start):
            rows = slice(number * width, (number + 1) * width if start != FLUX_FUSED[-1] else None)
            return Place(f"{block}linear1.{rest.removeprefix(start)}", _take_rows(rows))
    return Place(block + rename(rest, FLUX_SINGLE))


def _take_rows(rows: slice) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor[rows]


def _swap_halves(tensor: Tensor) -> Tensor:
    """Return scale and shift in diffusers' order; the file has shift first."""
    shift, scale = tensor.chunk(2)
    return cat([scale, shift])
