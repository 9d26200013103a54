"""What learns, as few long tensors: one float32 master per learning rate, laid out as named views.

An optimiser step over hundreds of small matrices is hundreds of launches; over one flat tensor it is one. So all that
learns at one rate lies in one 1-D leaf with one 1-D gradient: optimiser, clipping, running mean and reduction over
processes see nothing else. The model computes on `compute`: the views themselves where it computes in float32, else
copies in its number format, which one cast refreshes after each optimiser step.

Gradients gather in a buffer of the compute format, whether autograd adds them to a leaf's `.grad` or an adapter's own
backward adds them there; `collect` folds it into the float32 gradient after each micro-batch, so that a sum over
micro-batches is never rounded to 16 bits.

In: names and shapes. Knows neither models nor what is done with the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Elements: each view starts on 32 bytes even in 16 bits, which matrix kernels want for their widest loads."""


class FlatParameters:
    """Named tensors that learn at one rate, in one flat leaf."""

    master: nn.Parameter
    """[N] float32, the leaf that optimisers see; what lies between views stays 0."""
    views: dict[str, Tensor]
    """Parts of the master by name, float32."""
    gradients: dict[str, Tensor]
    """Parts of the master's gradient by name, float32."""
    compute: dict[str, Tensor]
    """What the model computes with by name: leaves that ask for a gradient, in the compute format."""
    compute_gradients: dict[str, Tensor]
    """Where the gradients of `compute` gather, in its format: each leaf's own `.grad`."""

    def __init__(
        self, shapes: Mapping[str, Sequence[int]], device: torch.device, compute_dtype: torch.dtype = torch.float32
    ) -> None:
        """Lay the tensors out in the given order, all zero."""
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._offsets: dict[str, int] = {}
        size = 0
        for name, shape in self._shapes.items():
            self._offsets[name] = size
            size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        self.master = nn.Parameter(torch.zeros(size, device=device))
        self._gradient = torch.zeros_like(self.master.detach())
        self.master.grad = self._gradient
        self._is_copied = compute_dtype != torch.float32
        self._values, self._gathered = self.master.detach(), self._gradient
        if self._is_copied:
            self._values = torch.zeros(size, device=device, dtype=compute_dtype)
            self._gathered = torch.zeros_like(self._values)
        self.views = self._name(self.master.detach())
        self.gradients = self._name(self._gradient)
        self.compute = self._name(self._values)
        self.compute_gradients = self._name(self._gathered)
        for name, leaf in self.compute.items():
            leaf.requires_grad_()
            leaf.grad = self.compute_gradients[name]

    def stack(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return tensors that were laid out one after another as one, joined along their first axis, and its gradient.

        Returns:
            the compute values and their gathered gradient, neither of which autograd follows.

        Raises:
            ValueError: they do not lie next to each other, or differ beyond their first axis.
        """
        tails = {self._shapes[name][1:] for name in names}
        if len(tails) != 1 or not self.is_stackable(names):
            raise ValueError(f"{', '.join(names)} do not lie one after another: lay them out so, with equal rows")
        start = self._offsets[names[0]]
        end = start + sum(math.prod(self._shapes[name]) for name in names)
        (tail,) = tails
        return self._values[start:end].view(-1, *tail), self._gathered[start:end].view(-1, *tail)

    def is_stackable(self, names: Sequence[str]) -> bool:
        """Return whether these tensors lie one after another without a gap."""
        ends = [self._offsets[name] + math.prod(self._shapes[name]) for name in names]
        return all(self._offsets[name] == end for name, end in zip(names[1:], ends[:-1], strict=True))

    @property
    def gradient(self) -> Tensor:
        """The master's gradient, [N] float32."""
        return self._gradient

    def buffers(self) -> list[Tensor]:
        """Return every tensor that holds numbers of its own."""
        kept = [self.master, self._gradient]
        return [*kept, self._values, self._gathered] if self._is_copied else kept

    def refresh(self) -> None:
        """Give the compute copies the master's values: after a step, a load or any other write to the master."""
        if self._is_copied:
            self._values.copy_(self.master.detach())

    def collect(self) -> None:
        """Fold what a micro-batch gathered into the float32 gradient."""
        if self._is_copied:
            self._gradient.add_(self._gathered)
            self._gathered.zero_()

    def clear(self) -> None:
        """Set every gradient to zero, in place: the buffers stay where backward passes and captured steps know them."""
        self._gradient.zero_()
        if self._is_copied:
            self._gathered.zero_()

    def _name(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the flat tensor's parts by name, as new tensors over the same memory."""
        parts = {}
        for name, shape in self._shapes.items():
            offset = self._offsets[name]
            parts[name] = flat[offset : offset + math.prod(shape)].view(shape).detach()
        return parts
