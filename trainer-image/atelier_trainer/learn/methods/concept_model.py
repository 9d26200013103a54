"""Concept models: low-rank adapters (LoRA, Hu et al. 2021) on the denoiser and, where asked, on the text encoder.

Adapters are float32 whatever the base computes in. They start as an exact no-op: `up` is zero, `down` is drawn from the
run's own draws, layer by layer by name, so that neither order nor library version decides it. Files follow the kohya
layout under diffusers' block names, which diffusers, InvokeAI, A1111, Forge, ComfyUI and SwarmUI all read.

Shapes: r rank, I inputs, O outputs of a layer; for convolutions k x k is the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from atelier_contract.dataset import ModelType
from atelier_contract.settings import Settings, Targets
from atelier_trainer.errors import InvalidInput
from atelier_trainer.learn.adapters import Adapter, AdapterSet, inject_adapters
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import RateGroup
from atelier_trainer.learn.parameters import FlatParameters
from atelier_trainer.learn.run import build_wording

ADAPTER = "atelier"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
CONVOLUTION = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
"""Layers that convolve, and they alone: a file with time_emb_proj in it is measured by that layer's width in InvokeAI,
which then takes it for another family's."""
DENOISER_TARGETS: dict[Targets, tuple[str, ...]] = {
    "attention": ATTENTION,
    "attentionMlp": ATTENTION + MLP,  # what kohya sd-scripts adapts by default: every layer of a transformer block
    "attentionMlpConv": ATTENTION + MLP + CONVOLUTION,
}
"""Module names of diffusers' UNet, as suffixes."""
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_MLP = ("fc1", "fc2")
DENOISER_PREFIX = "lora_unet"
TEXT_PREFIX = "lora_te"
TEXT_ROOT = "text_model."
"""transformers 5 dropped this part of its module names; files and their readers still have it."""


class ConceptModel:
    """The adapters of one run."""

    type: ModelType = "ConceptModel"

    def __init__(self, family: Family, settings: Settings, draws: Draws) -> None:
        """Add adapters to the family's denoiser and, where a rate is set for it, to its text encoders."""
        asked = settings.concept_model
        if asked is None:
            raise InvalidInput("conceptModel is not set: a concept model cannot be trained without it")
        self.wording = build_wording(settings)
        self.has_live_text = asked.text_encoder_learning_rate is not None
        self.is_stochastic = asked.dropout > 0
        self._rank = asked.rank
        self._scale = asked.alpha / asked.rank
        self._rate, self._text_rate = settings.learning_rate, asked.text_encoder_learning_rate
        inject = partial(inject_adapters, rank=asked.rank, alpha=asked.alpha, dropout=asked.dropout)
        targets = DENOISER_TARGETS[asked.targets]
        self._denoiser = [inject(family.denoiser, targets, name_layer=partial(_name_layer, DENOISER_PREFIX))]
        self._text: list[AdapterSet] = []
        if self.has_live_text:
            targets = TEXT_ATTENTION if asked.targets == "attention" else TEXT_ATTENTION + TEXT_MLP
            self._text = [
                inject(encoder.model, targets, name_layer=partial(_name_layer, TEXT_PREFIX))
                for encoder in family.encoders.values()
            ]
        for adapter in self._adapters():
            _initialise(adapter, draws)
        for flat in self.flat_parameters():
            flat.refresh()

    def named_parameters(self) -> dict[str, Tensor]:
        """Return both matrices of every layer."""
        return {name: view for flat in self.flat_parameters() for name, view in flat.views.items()}

    def flat_parameters(self) -> list[FlatParameters]:
        """Return the denoiser's adapters, then the text encoders'."""
        return [found.flat for found in self._denoiser + self._text]

    def rate_groups(self) -> list[RateGroup]:
        """Return the denoiser's adapters and the text encoder's, each at its own rate."""
        groups = [RateGroup([found.flat.master for found in self._denoiser], self._rate)]
        if self._text_rate is not None:
            groups.append(RateGroup([found.flat.master for found in self._text], self._text_rate))
        return groups

    def set_training(self, *, on: bool) -> None:
        """Switch adapter dropout on or off."""
        for adapter in self._adapters():
            adapter.layer.dropout.train(on)

    def rewrite(self, text: str) -> str:
        """Return the text unchanged: the trigger is made of words that the tokenizer knows how to split."""
        return text

    def export(self) -> dict[str, Tensor]:
        """Return kohya's three tensors a layer, with alpha folded into `up` in float32.

        Readers scale by alpha / rank. Written alpha equals the rank, so that a reader which ignores alpha is right too.
        """
        tensors: dict[str, Tensor] = {}
        for adapter in self._adapters():
            tensors[f"{adapter.name}.lora_down.weight"] = _copy(adapter.down)
            tensors[f"{adapter.name}.lora_up.weight"] = _copy(adapter.up) * self._scale
            tensors[f"{adapter.name}.alpha"] = torch.tensor(float(self._rank))
        return tensors

    def describe(self) -> dict[str, str]:
        """Return what kohya's tools write of a network."""
        return {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(self._rank),
            "ss_network_alpha": str(float(self._rank)),
            "ss_network_args": "{}",
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the adapters from a file that `export` wrote, of any alpha."""
        known = {f"{adapter.name}{suffix}" for adapter in self._adapters() for suffix in SUFFIXES}
        if set(tensors) != known:
            raise InvalidInput(
                f"startFrom: the model adapts {len(tensors) // 3} layers, this run {len(known) // 3}: "
                "set conceptModel.targets and textEncoderLearningRate as in the run it comes from"
            )
        for adapter in self._adapters():
            down, up = (tensors[f"{adapter.name}.lora_{side}.weight"] for side in ("down", "up"))
            if down.shape != adapter.down.shape or up.shape != adapter.up.shape:
                raise InvalidInput(
                    f"startFrom: the model has rank {len(down)}, this run {self._rank}: set conceptModel.rank to it"
                )
            alpha = float(tensors[f"{adapter.name}.alpha"])
            with torch.no_grad():
                adapter.down.copy_(down)
                adapter.up.copy_(up.float() * (alpha / len(down) / self._scale))
        for flat in self.flat_parameters():
            flat.refresh()

    def architecture_suffix(self) -> Literal["lora"]:
        """Return `lora`."""
        return "lora"

    def _adapters(self) -> list[Adapter]:
        return [adapter for found in self._denoiser + self._text for adapter in found.adapters]


SUFFIXES = (".lora_down.weight", ".lora_up.weight", ".alpha")
"""Kohya's three tensors of a layer."""


def _name_layer(prefix: str, path: str) -> str:
    """Return a layer's name in the file, without a suffix."""
    rooted = path if prefix == DENOISER_PREFIX or path.startswith(TEXT_ROOT) else TEXT_ROOT + path
    return f"{prefix}_{rooted.replace('.', '_')}"


def _initialise(adapter: Adapter, draws: Draws) -> None:
    """Draw `down` evenly within ±1/√inputs (Kaiming with a = √5, as the authors' code does) and set `up` to zero."""
    bound = 1 / math.sqrt(adapter.down[0].numel())
    unit = torch.rand(adapter.down.shape, generator=draws.generator("init", adapter.name))
    with torch.no_grad():
        adapter.down.copy_((2 * unit - 1) * bound)
        adapter.up.zero_()


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True).contiguous()
