"""What other tools look at in a model file, written down from their documented rules: the tools are not here.

Sources, each the program's own code as published: InvokeAI (`model_manager/configs`, `patches/lora_conversions`, its
first-hit width rule `lora_token_vector_length`), A1111 and Forge (their Lora extension's `network.py` and
`networks.py`, `textual_inversion.py`), ComfyUI (`comfy/lora.py`, `comfy/utils.py`, `comfy/sd1_clip.py`), SwarmUI
(`T2IModelClassSorter`, `T2IModelHandler`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

KOHYA_SUFFIXES = {"lora_down.weight", "lora_up.weight", "alpha"}

# InvokeAI
INVOKE_PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
INVOKE_WIDTHS = {768: "sd-1", 1024: "sd-2", 1280: "sdxl", 2048: "sdxl"}
INVOKE_FLUX_PROBES = tuple(
    f"transformer.{layer}.lora_{side}.weight"
    for layer in ("single_transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.add_q_proj")
    for side in "AB"
)
FLUX_LAYERS = re.compile(
    r"transformer\.(transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|"
    r"to_add_out)|ff\.net\.0\.proj|ff\.net\.2|ff_context\.net\.0\.proj|ff_context\.net\.2|norm1\.linear|"
    r"norm1_context\.linear)|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out|norm\.linear))"
)
"""Layers of the blocks that both InvokeAI's and ComfyUI's tables name. InvokeAI fails on any other."""
TOGETHER = (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj"))
"""InvokeAI joins these of a double block to one layer and fails where one is missing."""

# A1111
A1111_NAMES = (
    r"lora_unet_down_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_mid_block_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)",
    r"lora_unet_down_blocks_(\d+)_downsamplers_0_conv",
    r"lora_unet_up_blocks_(\d+)_upsamplers_0_conv",
    r"lora_te1?_text_model_encoder_layers_(\d+)_(.+)",
    r"lora_te2_text_model_encoder_layers_(\d+)_(.+)",
)
"""Names that its Lora extension maps onto its own layers."""

# ComfyUI
_ATTENTION = r"(attn[12]_(to_q|to_k|to_v|to_out_0)|ff_net_0_proj|ff_net_2)"
_BLOCK = (
    rf"(attentions_\d+_(proj_in|proj_out|transformer_blocks_\d+_{_ATTENTION})|resnets_\d+_(conv1|conv2|conv_shortcut))"
)
COMFY_NAMES = (
    rf"lora_unet_(down_blocks_\d+|mid_block|up_blocks_\d+)_{_BLOCK}",
    r"lora_unet_down_blocks_\d+_downsamplers_0_conv",
    r"lora_unet_up_blocks_\d+_upsamplers_0_conv",
    r"lora_te[12]?_text_model_encoder_layers_\d+_(mlp_fc[12]|self_attn_(q|k|v|out)_proj)",
)

# SwarmUI
SWARM_CLASSES = {
    "stable-diffusion-v1/lora",
    "stable-diffusion-v1/textual-inversion",
    "stable-diffusion-xl-v1-base/lora",
    "stable-diffusion-xl-v1-base/textual-inversion",
    "flux-1-dev/lora",
    "flux-1-schnell/lora",
}
"""Of `modelspec.architecture`: its class ids, and what it remaps to one."""


def read_header(file: Path) -> dict[str, object]:
    """Return a safetensors file's header as tools without the library read it."""
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header: dict[str, object] = json.loads(data[8 : 8 + size])
    return header


def read_body(file: Path) -> bytes:
    """Return what follows the header: kohya's `sshs_model_hash` is its sha256."""
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 + size :]


def measure_token_width(tensors: Mapping[str, Tensor]) -> int | None:
    """Return the width by which InvokeAI tells families of kohya-named LoRAs apart: the first hit in the file."""
    halves: dict[str, int] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".lora_down.weight"):
            continue
        if name.startswith("lora_unet_") and re.search(r"_attn2_to_[kv]\.|time_emb_proj\.", name):
            return tensor.shape[1]
        if name.startswith("lora_te") and "_self_attn_" in name:
            halves[name.split("_")[1]] = tensor.shape[1]
            if "te" in halves:
                return halves["te"]
            if len(halves) == 2:
                return sum(halves.values())
    return None


def classify_for_a1111(metadata: Mapping[str, str]) -> str:
    """Return the base model that A1111 files a LoRA under."""
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    if metadata.get("ss_v2") == "True":
        return "SD2"
    return "SD1" if metadata else "Unknown"


def classify_for_forge(metadata: Mapping[str, str]) -> str:
    """Return the base model that Forge files a LoRA under."""
    architecture = metadata.get("modelspec.architecture")
    implementation = metadata.get("modelspec.implementation")
    if implementation == "https://github.com/black-forest-labs/flux" or architecture == "flux-1-dev/lora":
        return "Flux"
    if architecture == "stable-diffusion-xl-v1-base/lora":
        return "SDXL"
    known = classify_for_a1111(metadata)
    return known if known != "SD1" or architecture == "stable-diffusion-v1/lora" else "Unknown"


def place_in_a1111(name: str) -> str | None:
    """Return the place, in the original layout, that A1111's formulas give a layer of the denoiser; None: it has none.

    The formulas are those of Stable Diffusion 1 with two resnets a level, whatever the model.
    """
    match = re.fullmatch(A1111_NAMES[0], name)
    if match:
        return f"input_blocks_{1 + int(match[1]) * 3 + int(match[3])}_{1 if match[2] == 'attentions' else 0}"
    match = re.fullmatch(A1111_NAMES[2], name)
    if match:
        return f"output_blocks_{int(match[1]) * 3 + int(match[3])}_{1 if match[2] == 'attentions' else 0}"
    match = re.fullmatch(A1111_NAMES[3], name)
    if match:
        return f"input_blocks_{3 + int(match[1]) * 3}_0"
    match = re.fullmatch(A1111_NAMES[4], name)
    if match:
        return f"output_blocks_{2 + int(match[1]) * 3}_{2 if int(match[1]) > 0 else 1}"
    return None


def read_for_comfy(tensors: Mapping[str, Tensor], encoder: str) -> Tensor:
    """Return what ComfyUI takes of an embedding for an encoder (`clip_l`, `clip_g`): its own key, else the first."""
    return tensors[encoder] if encoder in tensors else next(iter(tensors.values()))
