"""The published models' own structure: what of it is adapted, and that every tool finds each layer in its place.

The tiny bases of other tests have fewer blocks and layers; here the models are built from the configs that ship with
the trainer, without memory for their weights.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import atelier_trainer
import reader_rules as rules
from atelier_contract.architectures import Architecture
from atelier_contract.settings import Targets
from atelier_trainer.learn.methods.layer_names import LAYER_NAMES, list_targets, list_text_targets

SHIPPED = Path(atelier_trainer.__file__).parent / "data"
SD1, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1
FILES = {SD1: "stable_diffusion_1.json", XL: "stable_diffusion_xl.json", FLUX: "flux_1.json"}
COUNTS: dict[Architecture, dict[Targets, int]] = {
    SD1: {"attention": 128, "attentionMlp": 192, "attentionMlpConv": 256},
    XL: {"attention": 560, "attentionMlp": 722, "attentionMlpConv": 770},
    FLUX: {"attention": 266, "attentionMlp": 418},
}
"""192 and 722 are also what kohya's scripts count for their own set of the same layers."""
CASES = [(architecture, targets) for architecture, counts in COUNTS.items() for targets in counts]


@cache
def read_configs(architecture: Architecture) -> dict[str, Any]:
    """Return the configs of a family's parts."""
    configs: dict[str, Any] = json.loads((SHIPPED / FILES[architecture]).read_text())
    return configs


@cache
def build_denoiser(architecture: Architecture) -> nn.Module:
    """Return the published denoiser without its weights."""
    configs = read_configs(architecture)
    with torch.device("meta"):
        if architecture is FLUX:
            return FluxTransformer2DModel.from_config(configs["transformer"])
        return UNet2DConditionModel.from_config(configs["unet"])


def list_names(model: nn.Module, targets: tuple[str, ...], architecture: Architecture, prefix: str) -> list[str]:
    """Return the names in the file of a model's adapted layers."""
    names = LAYER_NAMES[architecture]
    return [
        names.name_layer(prefix, path)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and any(f".{path}".endswith(f".{target}") for target in targets)
    ]


def list_denoiser_names(architecture: Architecture, targets: Targets) -> list[str]:
    """Return the names in the file of the denoiser's adapted layers."""
    denoiser, prefix = build_denoiser(architecture), LAYER_NAMES[architecture].denoiser_prefix
    return list_names(denoiser, list_targets(architecture, denoiser, targets), architecture, prefix)


@pytest.mark.parametrize(("architecture", "targets"), CASES)
def test_so_many_layers_are_adapted(architecture: Architecture, targets: Targets) -> None:
    """No layer that a set names is missed in the published model, and none is met that it does not mean."""
    names = list_denoiser_names(architecture, targets)
    assert len(set(names)) == len(names) == COUNTS[architecture][targets]


@pytest.mark.parametrize(("architecture", "targets"), [case for case in CASES if case[0] is not FLUX])
def test_a1111_and_comfyui_know_every_layer(architecture: Architecture, targets: Targets) -> None:
    """Each name is one that both map."""
    names = list_denoiser_names(architecture, targets)
    for table in (rules.A1111_NAMES, rules.COMFY_NAMES):
        assert not [name for name in names if not any(re.fullmatch(rule, name) for rule in table)]


@pytest.mark.parametrize("targets", COUNTS[FLUX])
def test_every_layer_of_flux_is_one_that_tools_name(targets: Targets) -> None:
    """InvokeAI fails on any other, ComfyUI says that it was not loaded."""
    assert all(rules.FLUX_LAYERS.fullmatch(name) for name in list_denoiser_names(FLUX, targets))


def list_places(unet: Any) -> dict[str, str]:
    """Return where each resnet, attention and sampler of a UNet lies in the original layout, by its name in files."""
    places, index = {}, 0
    for level, block in enumerate(unet.down_blocks):
        for number in range(len(block.resnets)):
            index += 1
            places[f"lora_unet_down_blocks_{level}_resnets_{number}_"] = f"input_blocks_{index}_0"
            places[f"lora_unet_down_blocks_{level}_attentions_{number}_"] = f"input_blocks_{index}_1"
        index += 1
        places[f"lora_unet_down_blocks_{level}_downsamplers_0_conv"] = f"input_blocks_{index}_0"
    index = -1
    for level, block in enumerate(unet.up_blocks):
        has_attention = unet.config.up_block_types[level] == "CrossAttnUpBlock2D"
        for number in range(len(block.resnets)):
            index += 1
            places[f"lora_unet_up_blocks_{level}_resnets_{number}_"] = f"output_blocks_{index}_0"
            places[f"lora_unet_up_blocks_{level}_attentions_{number}_"] = f"output_blocks_{index}_1"
        places[f"lora_unet_up_blocks_{level}_upsamplers_0_conv"] = f"output_blocks_{index}_{2 if has_attention else 1}"
    return places


@pytest.mark.parametrize("architecture", [SD1, XL])
def test_a1111_looks_for_every_layer_in_its_place(architecture: Architecture) -> None:
    """Its formulas, which know no model, lead to where the layer really lies in the original layout."""
    places = list_places(build_denoiser(architecture))
    names = [name for name in list_denoiser_names(architecture, "attentionMlpConv") if "mid_block" not in name]
    for name in names:
        (true,) = (place for start, place in places.items() if name.startswith(start))
        assert rules.place_in_a1111(name) == true, name


def test_a1111_would_look_for_xls_first_upsampler_elsewhere() -> None:
    """Why that layer is left alone: the formula's place is not the layer's."""
    name = "lora_unet_up_blocks_0_upsamplers_0_conv"
    assert rules.place_in_a1111(name) != list_places(build_denoiser(XL))[name]
    assert name not in list_denoiser_names(XL, "attentionMlpConv")


@pytest.mark.parametrize(
    ("architecture", "encoder", "layers"),
    [(SD1, "text_encoder", 12), (XL, "text_encoder", 12), (XL, "text_encoder_2", 32)],
)
def test_every_layer_of_a_text_encoder_is_known(architecture: Architecture, encoder: str, layers: int) -> None:
    """Four attention and two other layers each, with the part of the name that transformers dropped put back."""
    kind = CLIPTextModelWithProjection if encoder == "text_encoder_2" else CLIPTextModel
    with torch.device("meta"):
        model = kind(CLIPTextConfig(**read_configs(architecture)[encoder]))
    prefix = LAYER_NAMES[architecture].text_prefixes[encoder]
    names = list_names(model, list_text_targets("attentionMlp"), architecture, prefix)
    assert len(set(names)) == len(names) == 6 * layers
    for table in (rules.A1111_NAMES, rules.COMFY_NAMES):
        assert not [name for name in names if not any(re.fullmatch(rule, name) for rule in table)]
