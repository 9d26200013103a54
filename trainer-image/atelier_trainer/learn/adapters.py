"""Low-rank adapters (LoRA, Hu et al. 2021) as lean layers: y = base(x) + s · up(down(x)).

An adapted layer answers in one of two ways that agree to rounding. The *fused* way is one autograd function
(`adapter_functions`) that adds the product into the base's answer in place and gathers gradients straight into the
buffers of `FlatParameters`. Layers that read the same input (query, key and value of an attention) share one product
with their stacked `down`. The *plain* way is ordinary operations: for the compiler, which fuses better than we can, for
dropout, and for layers whose weights are not plain matrices (a quantised base).

`up` starts at zero, so that a fresh adapter changes no bit of an answer. Knows neither files nor methods.

Shapes: I inputs, O outputs of a layer, r rank, k x k the kernel of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atelier_trainer.learn.adapter_functions import FusedConvolution, FusedLinears, LinearParts
from atelier_trainer.learn.parameters import FlatParameters

SAME_INPUT = (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj"), ("q_proj", "k_proj", "v_proj"))
"""Names of neighbours that read one input: in diffusers' attention, its second stream, and transformers' CLIP."""
SAME_CONTEXT = ("to_k", "to_v")
"""Those of a cross-attention, whose query reads something else."""


@dataclass(frozen=True)
class Adapter:
    """One adapted layer."""

    name: str
    """Its stable name, of its tensors in states and files."""
    path: str
    """Its module's name in the model."""
    layer: AdaptedLinear | AdaptedConvolution
    down: Tensor
    """[r, I] or [r, I, k, k]: a float32 view of the master."""
    up: Tensor
    """[O, r] or [O, r, 1, 1]: a float32 view of the master, zero at the start."""


@dataclass(frozen=True)
class AdapterSet:
    """The adapters of one model, in the order of its modules, and the flat parameters they lie in."""

    adapters: list[Adapter]
    flat: FlatParameters


class AdaptedLinear(nn.Module):
    """A frozen linear layer with an adapter beside it."""

    down: Tensor
    up: Tensor

    def __init__(self, base: nn.Linear, scale: float, dropout: float) -> None:
        super().__init__()
        self.base, self.scale, self.dropout, self.enabled = base, scale, nn.Dropout(dropout), True
        self.shared: SharedInput | None = None
        """How it answers the fused way; None: it has to answer plainly."""

    @property
    def weight(self) -> Tensor:
        """The base's weight: models ask their layers for its number format."""
        return self.base.weight

    @property
    def is_fusible(self) -> bool:
        """Whether the fused way knows what this layer computes; a subclass of a linear layer may compute anything."""
        return type(self.base) is nn.Linear and self.dropout.p == 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted answer, or the base's own while adapters are off."""
        if not self.enabled:
            return cast("Tensor", self.base(x))
        if (
            torch.compiler.is_compiling() or self.shared is None
        ):  # in this order: compiled code must not look at who shares
            return self.answer_plainly(x)
        return self.shared.answer(self, x)

    def answer_plainly(self, x: Tensor) -> Tensor:
        """Return the adapted answer by ordinary operations."""
        change = functional.linear(functional.linear(self.dropout(x), self.down), self.up)
        return cast("Tensor", self.base(x)) + change * self.scale


class AdaptedConvolution(nn.Module):
    """A frozen convolution with an adapter beside it: `down` convolves as the base does, `up` mixes channels."""

    down: Tensor
    up: Tensor
    down_gradient: Tensor
    up_gradient: Tensor

    def __init__(self, base: nn.Conv2d, scale: float, dropout: float) -> None:
        super().__init__()
        self.base, self.scale, self.dropout, self.enabled = base, scale, nn.Dropout(dropout), True

    @property
    def weight(self) -> Tensor:
        """The base's weight: models ask their layers for its number format."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted answer, or the base's own while adapters are off."""
        if not self.enabled:
            return cast("Tensor", self.base(x))
        is_fusible = type(self.base) is nn.Conv2d and self.dropout.p == 0 and self.base.padding_mode == "zeros"
        if torch.compiler.is_compiling() or not is_fusible or not x.is_contiguous():
            return self.answer_plainly(x)
        return cast("Tensor", FusedConvolution.apply(x, self.down, self))

    def answer_plainly(self, x: Tensor) -> Tensor:
        """Return the adapted answer by ordinary operations."""
        base = self.base
        hidden = functional.conv2d(self.dropout(x), self.down, None, base.stride, base.padding, base.dilation)
        return cast("Tensor", base(x)) + functional.conv2d(hidden, self.up) * self.scale


class SharedInput:
    """Linear layers that read the same tensor: the first one asked answers for all, the others hand on what it kept.

    Nothing else is assumed of the model. A layer that is asked with another tensor than the first simply computes anew,
    so that a wrong guess of who shares costs time and never a wrong answer.
    """

    def __init__(self, members: Sequence[AdaptedLinear], flat: FlatParameters, names: Sequence[str]) -> None:
        self._members = tuple(members)
        self._parts = LinearParts.gather([member.base for member in members], flat, names, members[0].scale)
        self._input: Tensor | None = None
        self._kept: dict[AdaptedLinear, Tensor] = {}
        for member in members:
            member.shared = self

    def answer(self, member: AdaptedLinear, x: Tensor) -> Tensor:
        """Return one member's answer."""
        if x is not self._input or member not in self._kept:
            answers = FusedLinears.apply(x, self._parts.anchor, self._parts)
            self._kept = dict(zip(self._members, answers, strict=True))
            self._input = x
        answer = self._kept.pop(member)
        if not self._kept:
            self._input = None
        return answer


def inject_adapters(
    model: nn.Module,
    targets: Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    name_layer: Callable[[str], str],
) -> AdapterSet:
    """Put an adapter beside every linear layer or convolution whose name ends in a target, and freeze all else.

    Args:
        model: its layers are replaced in place.
        targets: ends of module names, whole parts of them.
        rank: r.
        alpha: the adapter's product is scaled by alpha / rank.
        dropout: probability of dropping an input of `down`.
        name_layer: from a module's name in the model to its stable name.

    Returns:
        the adapters, all zero: `down` is the caller's to draw.
    """
    model.requires_grad_(requires_grad=False)
    chosen = [(path, module) for path, module in model.named_modules() if _is_target(path, module, targets)]
    if not chosen:
        raise ValueError(f"no layer of {type(model).__name__} is called {', '.join(targets)}: choose other targets")
    layers: dict[str, AdaptedLinear | AdaptedConvolution] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, base in chosen:
        name = name_layer(path)
        if isinstance(base, nn.Linear):
            layers[path] = AdaptedLinear(base, alpha / rank, dropout)
            shapes[f"{name}.down"], shapes[f"{name}.up"] = (rank, base.in_features), (base.out_features, rank)
        elif isinstance(base, nn.Conv2d):
            layers[path] = AdaptedConvolution(base, alpha / rank, dropout)
            shapes[f"{name}.down"] = (rank, base.in_channels, *base.kernel_size)
            shapes[f"{name}.up"] = (base.out_channels, rank, 1, 1)
    ordered = sorted(shapes, key=lambda name: name.endswith(".up"))  # neighbours' `down` together, to be stacked
    device = next(model.parameters()).device
    flat = FlatParameters({name: shapes[name] for name in ordered}, device, _read_format(model))
    for path, layer in layers.items():
        _attach(layer, flat, name_layer(path))
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    _share_inputs(model, layers, flat, name_layer)
    views = flat.views
    adapters = [
        Adapter(name_layer(path), path, layer, views[f"{name_layer(path)}.down"], views[f"{name_layer(path)}.up"])
        for path, layer in layers.items()
    ]
    return AdapterSet(adapters, flat)


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Let a model answer as the base alone inside the block."""
    layers = [module for module in model.modules() if isinstance(module, AdaptedLinear | AdaptedConvolution)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


def _is_target(path: str, module: nn.Module, targets: Sequence[str]) -> bool:
    is_named = any(path == target or path.endswith(f".{target}") for target in targets)
    return is_named and isinstance(module, nn.Linear | nn.Conv2d)


def _read_format(model: nn.Module) -> torch.dtype:
    """Return the number format a model computes in, whatever a quantised layer stores."""
    return next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())


def _attach(layer: AdaptedLinear | AdaptedConvolution, flat: FlatParameters, name: str) -> None:
    """Give a layer its tensors."""
    layer.down, layer.up = flat.compute[f"{name}.down"], flat.compute[f"{name}.up"]
    if isinstance(layer, AdaptedConvolution):
        layer.down_gradient = flat.compute_gradients[f"{name}.down"]
        layer.up_gradient = flat.compute_gradients[f"{name}.up"]


def _share_inputs(
    model: nn.Module,
    layers: dict[str, AdaptedLinear | AdaptedConvolution],
    flat: FlatParameters,
    name_layer: Callable[[str], str],
) -> None:
    """Tell every fusible linear layer with whom it shares its input: neighbours of known names, else nobody."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for path, layer in layers.items():
        if isinstance(layer, AdaptedLinear) and layer.is_fusible:
            parent, _, child = path.rpartition(".")
            grouped.setdefault((parent, _name_input(model.get_submodule(parent), child)), []).append(path)
    for paths in grouped.values():
        names = [name_layer(path) for path in paths]
        apart = not flat.is_stackable([f"{name}.down" for name in names])
        for group in [[path] for path in paths] if apart else [paths]:
            members = [cast("AdaptedLinear", layers[path]) for path in group]
            SharedInput(members, flat, [name_layer(path) for path in group])


def _name_input(parent: nn.Module, child: str) -> str:
    """Return a name that layers of one parent have in common when they read the same tensor."""
    if getattr(parent, "is_cross_attention", False):
        return "context" if child in SAME_CONTEXT else child
    return next((names[0] for names in SAME_INPUT if child in names), child)
