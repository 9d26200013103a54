"""A running mean of what is trained: calmer weights, which checkpoints hold and samples are drawn with.

    mean ← mean + (1 - β_t) (weights - mean)        β_t = min(β, (1 + t) / (10 + t))

with t the steps done: the decay rises from the start, so that the mean does not hang on to the untrained weights
(TensorFlow's ExponentialMovingAverage with `num_updates`, which trainers have followed since). Training itself never
sees the mean. It is a function of the weights' whole course, so a state holds it.

In: flat tensors. Out: the same, exchanged while a checkpoint is made. Without a decay nothing is kept and nothing done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

STATE_PREFIX = "ema."
"""Of its tensors' names in a state."""


class RunningMean:
    """The running mean of one run's flat tensors."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float, refresh: Callable[[], None]) -> None:
        """Begin with the parameters as they are.

        Args:
            parameters: flat masters, in an order that stays the same between attempts.
            decay: β; 0: no mean is kept.
            refresh: gives the model's compute copies the masters' values.
        """
        self._parameters = list(parameters) if decay else []
        self._means = [parameter.detach().clone() for parameter in self._parameters]
        self._decay, self._refresh = decay, refresh

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Take the weights in, after a step: `steps_done` counts it."""
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        for mean, parameter in zip(self._means, self._parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean in place of its weights; afterwards the weights are back, bit for bit."""
        weights = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self._means)
        try:
            yield
        finally:
            self._set(weights)

    def split(self) -> dict[str, Tensor]:
        """Return the mean for a state."""
        return {f"{STATE_PREFIX}{index}": mean.to("cpu", copy=True) for index, mean in enumerate(self._means)}

    @torch.no_grad()
    def join(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the mean from a state; tensors of other names are left alone."""
        for index, mean in enumerate(self._means):
            mean.copy_(tensors[f"{STATE_PREFIX}{index}"])

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
        if self._parameters:
            self._refresh()
