"""Which layers of a family get an adapter, and what the family's files call them.

Stable Diffusion: the kohya layout under diffusers' block names (`lora_unet_…`, `lora_te_…`, for XL `lora_te1_…` and
`lora_te2_…`), which diffusers, InvokeAI, A1111, Forge, ComfyUI and SwarmUI all read. FLUX.1: diffusers' own names
(`transformer.….lora_A.weight`): no layer is fused there, so nothing has to be split or stacked.

In: an architecture. Out: names. Knows no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.settings import Targets
from atelier_materials.errors import InvalidInput

TEXT_ROOT = "text_model."
"""transformers 5 dropped this part of some module names; files and their readers still have it."""
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_MLP = ("fc1", "fc2")
UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET_MLP = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
"""With attention what kohya sd-scripts adapts by default: every layer of a transformer block."""
RESNET = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv")
"""Layers that convolve, and they alone: a file with time_emb_proj in it is measured by that layer's width in InvokeAI,
which then takes it for another family's."""
FLUX_ATTENTION = (*UNET_ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
FLUX_MLP = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp")
"""Of double blocks both streams, of single blocks the way in; `_list_single_outputs` adds the way out."""


@dataclass(frozen=True)
class LayerNames:
    """How the files of one family name its layers."""

    denoiser_prefix: str
    text_prefixes: dict[str, str]
    """By encoder; empty: text encoders are not adapted."""
    is_dotted: bool
    """diffusers' names as they are, else kohya's, where underscores stand for dots."""

    @property
    def suffixes(self) -> tuple[str, str]:
        """What tensors are called behind the layer's name: `down`, then `up`."""
        return (".lora_A.weight", ".lora_B.weight") if self.is_dotted else (".lora_down.weight", ".lora_up.weight")

    def name_layer(self, prefix: str, path: str) -> str:
        """Return a layer's name in the file, without a suffix.

        Args:
            prefix: of the model that the layer lies in.
            path: the layer's module name in that model.
        """
        if self.is_dotted:
            return f"{prefix}.{path}"
        rooted = path if prefix == self.denoiser_prefix or path.startswith(TEXT_ROOT) else TEXT_ROOT + path
        return f"{prefix}_{rooted.replace('.', '_')}"


ALPHA = ".alpha"
"""Third tensor of a layer in the kohya layout. The diffusers layout has none: there alpha is the rank."""
LAYER_NAMES = {
    Architecture.STABLE_DIFFUSION_1: LayerNames("lora_unet", {"text_encoder": "lora_te"}, is_dotted=False),
    Architecture.STABLE_DIFFUSION_XL: LayerNames(
        "lora_unet", {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}, is_dotted=False
    ),
    Architecture.FLUX_1: LayerNames("transformer", {}, is_dotted=True),
}
CONVOLUTION = {
    Architecture.STABLE_DIFFUSION_1: (*RESNET, "upsamplers.0.conv"),
    # A1111 computes the place of XL's first upsampler by Stable Diffusion 1's rule and would drop that layer.
    Architecture.STABLE_DIFFUSION_XL: (*RESNET, "up_blocks.1.upsamplers.0.conv"),
}


def list_targets(architecture: Architecture, denoiser: nn.Module, asked: Targets) -> tuple[str, ...]:
    """Return the ends of the names of a denoiser's layers that get an adapter.

    Raises:
        InvalidInput: the family has no such layers.
    """
    if architecture is Architecture.FLUX_1:
        if asked == "attentionMlpConv":
            raise InvalidInput(
                f"conceptModel.targets attentionMlpConv: {FACTS[architecture].title} has no convolutions, "
                "set attentionMlp"
            )
        return FLUX_ATTENTION if asked == "attention" else FLUX_ATTENTION + FLUX_MLP + _list_single_outputs(denoiser)
    targets: tuple[str, ...] = UNET_ATTENTION
    if asked != "attention":
        targets += UNET_MLP
    if asked == "attentionMlpConv":
        targets += CONVOLUTION[architecture]
    return targets


def list_text_targets(asked: Targets) -> tuple[str, ...]:
    """Return the ends of the names of a text encoder's layers that get an adapter."""
    return TEXT_ATTENTION if asked == "attention" else TEXT_ATTENTION + TEXT_MLP


def _list_single_outputs(denoiser: nn.Module) -> tuple[str, ...]:
    """Return FLUX's `proj_out` of every single block, whole: the final layer has the same name and is left alone."""
    return tuple(
        name
        for name, _ in denoiser.named_modules()
        if name.startswith("single_transformer_blocks.") and name.endswith(".proj_out")
    )
