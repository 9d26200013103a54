"""Concept models: low-rank adapters (LoRA, Hu et al. 2021) on the denoiser and, where asked, on the text encoders.

Adapters are float32 whatever the base computes in. They start as an exact no-op: `up` is zero, `down` is drawn from the
run's own draws, layer by layer by name, so that neither order nor library version decides it. What layers are adapted
and called is said in `layer_names`.

Shapes: r rank, I inputs, O outputs of a layer; for convolutions k x k is the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from atelier_contract.architectures import FACTS, Architecture
from atelier_contract.dataset import ModelType
from atelier_contract.settings import ConceptModelSettings, Settings
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.adapters import Adapter, AdapterSet, inject_adapters
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import MODEL_FILE, ModelTensors, RateGroup
from atelier_trainer.learn.methods.layer_names import ALPHA, LAYER_NAMES, LayerNames, list_targets, list_text_targets
from atelier_trainer.learn.parameters import FlatParameters
from atelier_trainer.learn.run import build_wording

NETWORK_MODULES = {Architecture.FLUX_1: "networks.lora_flux"}
"""`ss_network_module` where it is not kohya's usual `networks.lora`."""


class ConceptModel:
    """The adapters of one run."""

    type: ModelType = "ConceptModel"

    def __init__(self, family: Family, settings: Settings, draws: Draws) -> None:
        """Add adapters to the family's denoiser and, where a rate is set for it, to its text encoders."""
        asked = settings.concept_model
        if asked is None:
            raise InvalidInput("conceptModel is not set: a concept model cannot be trained without it")
        self._architecture, self._names = family.architecture, LAYER_NAMES[family.architecture]
        self.wording = build_wording(settings)
        self.is_stochastic = asked.dropout > 0
        self._rank = asked.rank
        self._scale = asked.alpha / asked.rank
        self._rate, self._text_rate = settings.learning_rate, asked.text_encoder_learning_rate
        self._denoiser, self._text = _inject(family, asked, self._names)
        for adapter in self._adapters():
            _initialise(adapter, draws)
        for flat in self.flat_parameters():
            flat.refresh()

    @property
    def has_live_text(self) -> bool:
        """Whether a text encoder is adapted."""
        return bool(self._text)

    def learns_text_at(self, step: int) -> bool:
        """Return whether a text encoder is adapted: it then learns to the end."""
        del step
        return self.has_live_text

    def named_parameters(self) -> dict[str, Tensor]:
        """Return both matrices of every layer."""
        return {name: view for flat in self.flat_parameters() for name, view in flat.views.items()}

    def flat_parameters(self) -> list[FlatParameters]:
        """Return the denoiser's adapters, then the text encoders'."""
        return [found.flat for found in self._sets()]

    def rate_groups(self) -> list[RateGroup]:
        """Return the denoiser's adapters and the text encoders', each at its own rate."""
        groups = [RateGroup([self._denoiser.flat.master], self._rate)]
        if self._text_rate is not None:
            groups.append(RateGroup([found.flat.master for found in self._text.values()], self._text_rate))
        return groups

    def set_training(self, *, on: bool) -> None:
        """Switch adapter dropout on or off."""
        for adapter in self._adapters():
            adapter.layer.dropout.train(on)

    def rewrite(self, text: str) -> str:
        """Return the text unchanged: the trigger is made of words that the tokenizer knows how to split."""
        return text

    def export(self) -> list[ModelTensors]:
        """Return the adapters as one file, with the scale folded into `up` in float32.

        Readers scale by alpha / rank. Alpha is written as the rank, or not at all where the layout has none, so that a
        reader which ignores alpha is right too.
        """
        tensors: dict[str, Tensor] = {}
        down_suffix, up_suffix = self._names.suffixes
        for adapter in self._adapters():
            tensors[f"{adapter.name}{down_suffix}"] = _copy(adapter.down)
            tensors[f"{adapter.name}{up_suffix}"] = _copy(adapter.up) * self._scale
            if not self._names.is_dotted:
                tensors[f"{adapter.name}{ALPHA}"] = torch.tensor(float(self._rank))
        entries = {
            "ss_network_module": NETWORK_MODULES.get(self._architecture, "networks.lora"),
            "ss_network_dim": str(self._rank),
            "ss_network_alpha": str(float(self._rank)),
            "ss_network_args": "{}",
        }
        return [ModelTensors(self.type, MODEL_FILE, "lora", tensors, self.wording.trigger, entries)]

    def load(self, models: Mapping[ModelType, Mapping[str, Tensor]]) -> None:
        """Set the adapters from a file that `export` wrote, of any alpha."""
        if "Embedding" in models:
            raise InvalidInput(
                "startFrom: the checkpoint has an embedding that was trained with the concept model: "
                "set conceptModel.embedding as in the run it comes from"
            )
        self.load_adapters(models.get("ConceptModel", {}))

    def load_adapters(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the adapters from a file's tensors.

        Raises:
            InvalidInput: it adapts other layers, or at another rank.
        """
        suffixes = (*self._names.suffixes, *(() if self._names.is_dotted else (ALPHA,)))
        known = {f"{adapter.name}{suffix}" for adapter in self._adapters() for suffix in suffixes}
        if set(tensors) != known:
            raise InvalidInput(
                f"startFrom: the model adapts {len(tensors) // len(suffixes)} layers, this run "
                f"{len(known) // len(suffixes)}: set conceptModel.targets and textEncoderLearningRate as in the run it "
                "comes from"
            )
        for adapter in self._adapters():
            down, up = (tensors[f"{adapter.name}{suffix}"] for suffix in self._names.suffixes)
            if down.shape != adapter.down.shape or up.shape != adapter.up.shape:
                raise InvalidInput(
                    f"startFrom: the model has rank {len(down)}, this run {self._rank}: set conceptModel.rank to it"
                )
            alpha = float(tensors.get(f"{adapter.name}{ALPHA}", len(down)))
            with torch.no_grad():
                adapter.down.copy_(down)
                adapter.up.copy_(up.float() * (alpha / len(down) / self._scale))
        for flat in self.flat_parameters():
            flat.refresh()

    def _sets(self) -> list[AdapterSet]:
        return [self._denoiser, *self._text.values()]

    def _adapters(self) -> list[Adapter]:
        return [adapter for found in self._sets() for adapter in found.adapters]


def _inject(family: Family, asked: ConceptModelSettings, names: LayerNames) -> tuple[AdapterSet, dict[str, AdapterSet]]:
    """Add adapters to the denoiser and to the text encoders that learn; return both, the latter by encoder.

    Raises:
        InvalidInput: the family's files cannot hold what is asked.
    """
    inject = partial(inject_adapters, rank=asked.rank, alpha=asked.alpha, dropout=asked.dropout)
    learns_text = asked.text_encoder_learning_rate is not None
    if learns_text and not names.text_prefixes:
        title = FACTS[family.architecture].title
        raise InvalidInput(
            f"conceptModel.textEncoderLearningRate: {title} learns without its text encoders (T5 is too large to adapt "
            "beside it, and its files hold the denoiser's adapters alone): leave it out"
        )
    targets = list_targets(family.architecture, family.denoiser, asked.targets)
    denoiser = inject(family.denoiser, targets, name_layer=partial(names.name_layer, names.denoiser_prefix))
    text = {
        encoder: inject(
            family.encoders[encoder].model,
            list_text_targets(asked.targets),
            name_layer=partial(names.name_layer, prefix),
        )
        for encoder, prefix in names.text_prefixes.items()
        if learns_text
    }
    return denoiser, text


def _initialise(adapter: Adapter, draws: Draws) -> None:
    """Draw `down`, and set `up` to zero.

    Of matrices it is normal with standard deviation 1/r: peft's "gaussian", as in the diffusers examples. The first
    steps of Adam, which sets their size itself, then move a layer's answer as far at every rank. Of kernels wider than
    a place, which those examples do not adapt, it is even within ±1/√inputs: kohya's, by Kaiming.
    """
    generator = draws.generator("init", adapter.name)
    is_wide = adapter.down.shape[2:].numel() > 1
    with torch.no_grad():
        if is_wide:
            even = 2 * torch.rand(adapter.down.shape, generator=generator) - 1
            adapter.down.copy_(even / math.sqrt(adapter.down[0].numel()))
        else:
            adapter.down.copy_(torch.randn(adapter.down.shape, generator=generator) / len(adapter.down))
        adapter.up.zero_()


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True).contiguous()
