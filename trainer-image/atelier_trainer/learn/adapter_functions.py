"""The fused arithmetic of adapters: forward and backward of a frozen layer with its low-rank change, as one function.

Autograd over ordinary operations would keep, scale, add and accumulate each product apart: about 40 operations of the
framework a layer. Here the change is added into the base's answer by the multiply-add that computes it, the scale rides
along as its factor, and the backward pass adds the gradients of `down` and `up` into their buffers the same way,
telling autograd that they have none. With s the scale, g the gradient of y = x Wᵀ + b + s · (x Aᵀ) Bᵀ:

    h = x Aᵀ        ∂B += s · gᵀ h        k = g B        ∂A += s · kᵀ x        ∂x = g W + s · k A

For several layers with one input the A lie stacked, so that h, ∂A and the last term of ∂x are one product each.

In: tensors and the parts of a layer. Shapes: N rows, B batch, I inputs, O outputs, n layers, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from atelier_trainer.learn.parameters import FlatParameters


@dataclass(frozen=True)
class LinearParts:
    """What the fused function needs of n linear layers that share an input; everything transposed is a view."""

    weights: tuple[Tensor, ...]
    """[O, I] each, frozen."""
    weights_t: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    down: Tensor
    """[n r, I]: all of them, stacked."""
    down_t: Tensor
    down_gradient: Tensor
    ups: tuple[Tensor, ...]
    """[O, r] each."""
    ups_t: tuple[Tensor, ...]
    up_gradients: tuple[Tensor, ...]
    anchor: Tensor
    """A leaf that asks for a gradient, so that autograd calls the backward pass whether or not the input asks."""
    rank: int
    scale: float

    @classmethod
    def gather(
        cls, bases: Sequence[nn.Linear], flat: FlatParameters, names: Sequence[str], scale: float
    ) -> LinearParts:
        """Collect the parts of layers whose adapters are called `names`."""
        down, down_gradient = flat.stack([f"{name}.down" for name in names])
        weights = tuple(base.weight.detach() for base in bases)
        ups = tuple(flat.compute[f"{name}.up"].detach() for name in names)
        return cls(
            weights=weights,
            weights_t=tuple(weight.t() for weight in weights),
            biases=tuple(None if base.bias is None else base.bias.detach() for base in bases),
            down=down,
            down_t=down.t(),
            down_gradient=down_gradient,
            ups=ups,
            ups_t=tuple(up.t() for up in ups),
            up_gradients=tuple(flat.compute_gradients[f"{name}.up"] for name in names),
            anchor=flat.compute[f"{names[0]}.up"],
            rank=ups[0].shape[1],
            scale=scale,
        )


class FusedLinears(torch.autograd.Function):
    """n adapted linear layers on one input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _anchor: Tensor, parts: LinearParts) -> tuple[Tensor, ...]:
        """Return [..., O] of each layer for x [..., I]."""
        rows = x.reshape(-1, x.shape[-1])
        hidden = rows.mm(parts.down_t)
        ctx.parts = parts
        ctx.save_for_backward(rows, hidden)
        lead = x.shape[:-1]
        answers = []
        for weight_t, bias, up_t, part in zip(
            parts.weights_t, parts.biases, parts.ups_t, _split(hidden, parts.rank), strict=True
        ):
            answer = rows.mm(weight_t) if bias is None else torch.addmm(bias, rows, weight_t)
            answer.addmm_(part, up_t, alpha=parts.scale)
            answers.append(answer.view(*lead, -1))
        return tuple(answers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        """Add to the gradients of `down` and `up`; return x's."""
        parts: LinearParts = ctx.parts
        rows, hidden = ctx.saved_tensors
        flat = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]
        inner = []
        for gradient, up, up_gradient, part in zip(
            flat, parts.ups, parts.up_gradients, _split(hidden, parts.rank), strict=True
        ):
            up_gradient.addmm_(gradient.t(), part, alpha=parts.scale)
            inner.append(gradient.mm(up))
        joined = inner[0] if len(inner) == 1 else torch.cat(inner, dim=1)
        parts.down_gradient.addmm_(joined.t(), rows, alpha=parts.scale)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        change = flat[0].mm(parts.weights[0])
        for gradient, weight in zip(flat[1:], parts.weights[1:], strict=True):
            change.addmm_(gradient, weight)
        change.addmm_(joined, parts.down, alpha=parts.scale)
        return change.view(*gradients[0].shape[:-1], -1), None, None


class ConvolutionParts(Protocol):
    """What the fused function needs of an adapted convolution."""

    base: nn.Conv2d
    scale: float
    down: Tensor
    """[r, C, k, k]."""
    up: Tensor
    """[O, r, 1, 1]."""
    down_gradient: Tensor
    up_gradient: Tensor


class FusedConvolution(torch.autograd.Function):
    """An adapted convolution over contiguous pictures."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _anchor: Tensor, parts: ConvolutionParts) -> Tensor:
        """Return [B, O, H, W] for x [B, C, H', W']."""
        base = parts.base
        answer = torch.conv2d(x, base.weight, base.bias, base.stride, base.padding, base.dilation)
        hidden = torch.conv2d(x, parts.down, None, base.stride, base.padding, base.dilation).flatten(2)
        ctx.parts = parts
        ctx.save_for_backward(x, hidden)
        answer.flatten(2).baddbmm_(_spread(parts.up, len(x)), hidden, alpha=parts.scale)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        """Add to the gradients of `down` and `up`; return x's."""
        parts: ConvolutionParts = ctx.parts
        x, hidden = ctx.saved_tensors
        flat = gradient.flatten(2)
        parts.up_gradient.flatten(1).addbmm_(flat, hidden.transpose(1, 2), alpha=parts.scale)
        inner = _spread(parts.up, len(x)).transpose(1, 2).bmm(flat).view(len(x), -1, *gradient.shape[2:])
        needs_change = ctx.needs_input_grad[0]
        side, down_gradient, _ = _differentiate(parts.base, inner, x, parts.down, [needs_change, True, False])
        parts.down_gradient.add_(down_gradient, alpha=parts.scale)
        if not needs_change:
            return None, None, None
        change, _, _ = _differentiate(parts.base, gradient, x, parts.base.weight, [True, False, False])
        return change.add_(side, alpha=parts.scale), None, None


def _split(hidden: Tensor, rank: int) -> tuple[Tensor, ...]:
    """Return each layer's columns of [N, n r]."""
    return (hidden,) if hidden.shape[1] == rank else hidden.split(rank, dim=1)


def _spread(up: Tensor, batch: int) -> Tensor:
    """Return [O, r, 1, 1] as [B, O, r] without a copy."""
    return up.flatten(1).expand(batch, -1, -1)


def _differentiate(
    base: nn.Conv2d, gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight and bias of a convolution shaped like `base`, where wanted."""
    shape = (base.stride, base.padding, base.dilation, False, [0, 0], base.groups)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, *shape, wanted
    )
    return found
