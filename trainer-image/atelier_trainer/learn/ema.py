"""A running mean of what is trained: calmer weights, which checkpoints hold and samples are drawn with.

    mean ← mean + (1 - β_t) (weights - mean)        β_t = min(β, (1 + t) / (10 + t))

with t the steps done: the decay rises from the start, so that the mean does not hang on to the untrained weights
(TensorFlow's ExponentialMovingAverage with `num_updates`, which trainers have followed since). Training itself never
sees the mean. It is a function of the weights' whole course, so a state holds it.

In: flat tensors. Out: the same, exchanged while a checkpoint is made. Without a decay nothing is kept and nothing done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from atelier_trainer.learn.parameters import FlatParameters

MEAN_PREFIX = "ema."
"""Of its tensors' names in a state."""


class RunningMean:
    """The running mean of one run's flat tensors."""

    def __init__(self, flats: Sequence[FlatParameters], decay: float) -> None:
        """Begin with the parameters as they are.

        Args:
            flats: all that is trained, in an order that stays the same between attempts.
            decay: β; 0: no mean is kept.
        """
        self._flats = list(flats) if decay else []
        self._means = [flat.master.detach().clone() for flat in self._flats]
        self._decay = decay

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Take the weights in, after a step: `steps_done` counts it."""
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        for mean, flat in zip(self._means, self._flats, strict=True):
            mean.lerp_(flat.master, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean in place of its weights; afterwards the weights are back, bit for bit."""
        weights = [flat.master.detach().clone() for flat in self._flats]
        self._set(self._means)
        try:
            yield
        finally:
            self._set(weights)

    def split(self) -> dict[str, Tensor]:
        """Return the mean for a state."""
        return {f"{MEAN_PREFIX}{index}": mean.to("cpu", copy=True) for index, mean in enumerate(self._means)}

    @torch.no_grad()
    def join(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the mean from a state; tensors of other names are left alone."""
        for index, mean in enumerate(self._means):
            mean.copy_(tensors[f"{MEAN_PREFIX}{index}"])

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for flat, value in zip(self._flats, values, strict=True):
            flat.master.copy_(value)
            flat.refresh()
