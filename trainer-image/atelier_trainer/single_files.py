"""What a weights file is, told from the names and shapes of its tensors alone: pure, and shared by `edges` and `learn`.

In: a header (no weight is read). Out: which parts of a base model the file holds and under which prefix, or one clause
that says what it is instead. Knows the layouts in which checkpoints are passed from hand to hand: Stability's (one file
of UNet, VAE and encoders), Black Forest Labs' (the transformer alone), ComfyUI's (everything of FLUX), and the
separate files of FLUX's encoders and VAE. Names are those of the published files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from atelier_contract.architectures import Architecture

Shapes = Mapping[str, tuple[int, ...]]

LDM_UNET = "model.diffusion_model."
LDM_INPUT = f"{LDM_UNET}input_blocks.0.0.weight"
LATENT_CHANNELS = 4
"""Of an ordinary UNet's input; inpainting adds a mask and the masked picture (9), picture editing a picture (8)."""
EXTRA_CHANNELS = {9: "an inpainting model", 8: "a picture-editing model", 5: "a depth model", 7: "an upscaler"}
REFINER = "the refiner of Stable Diffusion XL"
REFINER_TEXT, STABLE_DIFFUSION_2_TEXT = "conditioner.embedders.0.model.", "cond_stage_model.model."
"""Prefixes of text encoders that only these families have."""
CROSS_ATTENTION_WEIGHT = ".attn2.to_k.weight"
FLUX_MARK = "double_blocks.0.img_attn.norm.key_norm.scale"
FLUX_CHANNELS = 64
"""Latents of 16 channels in patches of 2x2 pixels."""
FLUX_EXTRA_CHANNELS = {384: "FLUX.1 Fill (inpainting)", 128: "FLUX.1 Depth or Canny (control)"}
PARTS_OF = {
    Architecture.STABLE_DIFFUSION_1: {
        "unet": LDM_UNET,
        "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.transformer.",
    },
    Architecture.STABLE_DIFFUSION_XL: {
        "unet": LDM_UNET,
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    Architecture.FLUX_1: {
        "vae": "vae.",
        "text_encoder": "text_encoders.clip_l.transformer.",
        "text_encoder_2": "text_encoders.t5xxl.transformer.",
    },
}
"""Prefix of each part in a file that holds several. FLUX's transformer has `model.diffusion_model.` or none."""
QUANTISED_MARKS = (".quant_state.", ".absmax", "scaled_fp8", ".scale_weight", ".weight_scale", ".comfy_quant")
"""Parts of the names that quantised files add: bitsandbytes, and the scaled fp8 of ComfyUI."""
LOADABLE_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32"})
"""Number formats (safetensors' names) that are weights as they are; whole numbers are position ids."""
BYTE_DTYPES = frozenset({"F8_E4M3", "F8_E5M2", "U8", "I8"})
ADAPTER_MARK = re.compile(r"(^|[._])(lora_(up|down|A|B)|lora_linear_layer|hada_w\d_[ab]|lokr_w\d|dora_scale)([._]|$)")
NOT_A_BASE: tuple[tuple[re.Pattern[str], str], ...] = (
    (ADAPTER_MARK, "a LoRA"),
    (re.compile(r"^(emb_params|clip_[lg])$"), "an embedding"),
    (re.compile(r"^(control_model\.|controlnet_cond_embedding\.|input_hint_block\.)"), "a ControlNet"),
    (re.compile(r"(^|\.)double_stream_modulation_img\.|(^|\.)single_stream_modulation\."), "FLUX.2"),
    (re.compile(r"(^|\.)distilled_guidance_layer\."), "Chroma"),
    (re.compile(r"(^|\.)joint_blocks\.0\."), "Stable Diffusion 3"),
    (re.compile(r"^edm_(mean|std)$"), "Playground 2.5, whose noise schedule is another"),
    (re.compile(r"^(down_blocks|transformer_blocks|single_transformer_blocks)\.0\."), "a part of a diffusers folder"),
)
"""First name that matches tells what a file is, and that it is no base model."""


@dataclass(frozen=True)
class FileHeader:
    """A weights file's header."""

    shapes: Shapes
    dtypes: frozenset[str]
    """safetensors' names of number formats."""
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class SingleFile:
    """What a weights file holds of a base model."""

    architecture: Architecture | None
    """None: a part alone, which more than one family could use."""
    parts: Mapping[str, str]
    """Folder name of each part held, to the prefix of its tensors."""
    denoiser_parameters: int = 0
    has_velocity: bool = False
    """Whether the file says that its UNet predicts velocities (an empty tensor `v_pred`, written by merge tools)."""


def recognise(header: FileHeader) -> SingleFile | str:
    """Return what a file holds of a base model, or a clause for `… is {clause}` that says what it is instead."""
    shapes = header.shapes
    for mark, kind in NOT_A_BASE:
        if any(mark.search(name) for name in shapes):
            return kind
    if any(mark in name for name in shapes for mark in QUANTISED_MARKS) or header.dtypes & BYTE_DTYPES:
        return "quantised (fp8, 4 or 8 bits): its weights are rounded for good"
    if header.dtypes - LOADABLE_DTYPES:
        return f"in the number format {min(header.dtypes - LOADABLE_DTYPES)}"
    if LDM_INPUT in shapes:
        return _recognise_stability(shapes)
    for prefix in ("", LDM_UNET):
        if f"{prefix}{FLUX_MARK}" in shapes:
            return _recognise_flux(header, prefix)
    return _recognise_part(shapes)


def count_blocks(shapes: Shapes, prefix: str, kind: str) -> int:
    """Return how many blocks of a kind (`double_blocks`, `single_blocks`) a FLUX transformer has."""
    start = f"{prefix}{kind}."
    return len({name[len(start) :].split(".", 1)[0] for name in shapes if name.startswith(start)})


def _recognise_stability(shapes: Shapes) -> SingleFile | str:
    channels = shapes[LDM_INPUT][1]
    if channels != LATENT_CHANNELS:
        return EXTRA_CHANNELS.get(channels, f"one that reads {channels} channels instead of {LATENT_CHANNELS}")
    architecture = _name_unet(shapes)
    if not isinstance(architecture, Architecture):
        return architecture
    return SingleFile(
        architecture,
        _find_parts(shapes, PARTS_OF[architecture]),
        count_parameters(shapes, LDM_UNET),
        has_velocity="v_pred" in shapes,
    )


def _name_unet(shapes: Shapes) -> Architecture | str:
    """Tell the families apart by what a UNet is told besides the text (sizes: XL alone), then by the text's width."""
    widths = {shape[1] for name, shape in shapes.items() if name.endswith(CROSS_ATTENTION_WEIGHT)}
    if f"{LDM_UNET}label_emb.0.0.weight" in shapes:
        return REFINER if 1280 in widths or _has(shapes, REFINER_TEXT) else Architecture.STABLE_DIFFUSION_XL
    if 1024 in widths or _has(shapes, STABLE_DIFFUSION_2_TEXT):
        return "Stable Diffusion 2"
    return Architecture.STABLE_DIFFUSION_1


def _recognise_flux(header: FileHeader, prefix: str) -> SingleFile | str:
    channels = header.shapes[f"{prefix}img_in.weight"][1] if f"{prefix}img_in.weight" in header.shapes else 0
    if channels != FLUX_CHANNELS:
        return FLUX_EXTRA_CHANNELS.get(channels, f"a FLUX that reads {channels} values instead of {FLUX_CHANNELS}")
    # Kontext has the very shapes of dev: only what the file says of itself tells them apart.
    if any("kontext" in told.lower() for told in header.metadata.values()):
        return "FLUX.1 Kontext (picture editing)"
    parts = {"transformer": prefix, **_find_parts(header.shapes, PARTS_OF[Architecture.FLUX_1])}
    return SingleFile(Architecture.FLUX_1, parts, _count_flux(header.shapes, prefix))


def _recognise_part(shapes: Shapes) -> SingleFile | str:
    if "encoder.down.0.block.0.conv1.weight" in shapes:
        return SingleFile(None, {"vae": ""})
    if "text_model.embeddings.token_embedding.weight" in shapes:
        return SingleFile(None, {"text_encoder": ""})
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in shapes:
        return SingleFile(None, {"text_encoder_2": ""})
    return "nothing that is known here"


def _find_parts(shapes: Shapes, prefixes: Mapping[str, str]) -> dict[str, str]:
    return {part: prefix for part, prefix in prefixes.items() if _has(shapes, prefix)}


def _has(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


def count_parameters(shapes: Shapes, prefix: str) -> int:
    """Return the number of weights below a prefix."""
    total = 0
    for name, shape in shapes.items():
        if name.startswith(prefix):
            size = 1
            for side in shape:
                size *= side
            total += size
    return total


def _count_flux(shapes: Shapes, prefix: str) -> int:
    others = tuple(PARTS_OF[Architecture.FLUX_1].values())
    return count_parameters({name: shape for name, shape in shapes.items() if not name.startswith(others)}, prefix)
