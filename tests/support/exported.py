"""Methods with random weights on tiny bases of each family, exported as a checkpoint would: files that tools must read.

Nothing is trained: what is proven of such files holds for any weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atelier_contract.architectures import Architecture
from atelier_contract.settings import Settings
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.metadata import DatasetFacts, build_metadata
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.registry import build_method
from atelier_trainer.learn.tensor_files import write_tensors
from learning import EMBEDDING, PIVOTAL, build_settings, build_told
from read_published import SIGMA, TIMESTEP
from tiny_models import write_flux, write_stable_diffusion_1, write_stable_diffusion_xl

TEXT = "<tkxw>, TKXW, a teapot on a red background"
SIDE = 8
"""Latents on a side."""
TEXT_RATE = {"textEncoderLearningRate": 1e-4}
METHODS: dict[str, dict[str, Any]] = {
    "attention": {"conceptModel": {"targets": "attention"}},
    "attentionMlp": {"conceptModel": {"targets": "attentionMlp"}},
    "attentionMlpConv": {"conceptModel": {"targets": "attentionMlpConv"}},
    "attention+text": {"conceptModel": {"targets": "attention", **TEXT_RATE}},
    "attentionMlp+text": {"conceptModel": {"targets": "attentionMlp", **TEXT_RATE}},
    "attentionMlpConv+text": {"conceptModel": {"targets": "attentionMlpConv", **TEXT_RATE}},
    "pivotal": {"conceptModel": {"targets": "attentionMlp", "embedding": PIVOTAL}},
    "pivotal+text": {"conceptModel": {"targets": "attentionMlpConv", "embedding": PIVOTAL, **TEXT_RATE}},
    "embedding": {"embedding": EMBEDDING},
}
"""What is trained, by a short name."""
CASES = [
    (architecture, method)
    for architecture in Architecture
    for method in METHODS
    if architecture is not Architecture.FLUX_1 or method in {"attention", "attentionMlp"}
]
"""Every family with every method and target set that it has."""
DATASET = DatasetFacts(["TKXW, red, a teapot", "TKXW, red"], [(64, 64), (64, 128)], steps_per_epoch=2, shown=5)


@dataclass(frozen=True)
class Exported:
    """One method's files, and what they were made from."""

    architecture: Architecture
    base: Path
    family: Family
    method: Method
    settings: Settings
    files: dict[str, Path] = field(default_factory=dict)
    """By role."""

    def weights(self) -> dict[str, Tensor]:
        """Return the float32 masters."""
        return {name: view.detach().clone() for name, view in self.method.named_parameters().items()}

    def answer(self, text: str) -> dict[str, Tensor]:
        """Return what training's own model says of a text and of fixed noise."""
        channels = self.family.latent_channels
        noise = torch.randn((1, channels, SIDE, SIDE), generator=torch.Generator().manual_seed(5))
        flows = self.architecture is Architecture.FLUX_1
        times = torch.tensor([SIGMA]) if flows else torch.tensor([TIMESTEP])
        with torch.no_grad():
            conditions = self.family.encode_prompts([self.method.rewrite(text)])
            return {
                **{"states" if name == "text" else name: said for name, said in conditions.items()},
                "answer": self.family.predict(noise, times, conditions),
            }


def write_base(architecture: Architecture, folder: Path, *, is_wide: bool = False) -> Path:
    """Write a tiny base; `is_wide`: with the text widths by which tools recognise the family."""
    if architecture is Architecture.STABLE_DIFFUSION_1:
        return write_stable_diffusion_1(folder, **({"text_width": 768} if is_wide else {}))
    if architecture is Architecture.STABLE_DIFFUSION_XL:
        return write_stable_diffusion_xl(folder, **({"text_widths": (768, 1280)} if is_wide else {}))
    return write_flux(folder)


def export(architecture: Architecture, method: str, base: Path, folder: Path, **changes: Any) -> Exported:
    """Give a method random weights and write its files as a checkpoint has them."""
    settings = build_settings(**{**METHODS[method], **changes})
    family = load_family(architecture, base, torch.device("cpu"), torch.float32, "contiguous")
    built = build_method(family, settings, Draws(settings.seed))
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for view in built.named_parameters().values():
            view.copy_(torch.randn(view.shape, generator=generator) * 0.1)
    for flat in built.flat_parameters():
        flat.refresh()
    built.set_training(on=False)
    folder.mkdir(parents=True, exist_ok=True)
    told = build_told(settings, architecture)
    exported = Exported(architecture, base, family, built, settings)
    for model in built.export():
        metadata = build_metadata(told, settings, family, model, DATASET, step=6)
        write_tensors(folder / model.file_name, model.tensors, metadata)
        exported.files[model.role] = folder / model.file_name
    return exported


def build_shelf(root: Path, *, is_wide: bool = False) -> Callable[[Architecture, str], Exported]:
    """Return a function that exports a case once, in a folder below `root`."""
    torch.set_num_threads(1)  # as training does on a CPU; with more, tiny layers wait for one another

    @cache
    def base_of(architecture: Architecture) -> Path:
        return write_base(architecture, root / str(architecture), is_wide=is_wide)

    @cache
    def find(architecture: Architecture, method: str) -> Exported:
        return export(architecture, method, base_of(architecture), root / f"{architecture}-{method}")

    return find


def find_effective_updates(exported: Exported) -> Mapping[str, Tensor]:
    """Return what training adds to each layer's weight, by the layer's name: scale · up · down, in float32."""
    asked = exported.settings.concept_model
    assert asked is not None
    masters = exported.weights()
    names = [name.removesuffix(".down") for name in masters if name.endswith(".down")]
    updates = {}
    for name in names:
        down, up = masters[f"{name}.down"], masters[f"{name}.up"]
        product = up.flatten(1) @ down.flatten(1)
        updates[name] = product.reshape(up.shape[0], *down.shape[1:]) * (asked.alpha / asked.rank)
    return updates
