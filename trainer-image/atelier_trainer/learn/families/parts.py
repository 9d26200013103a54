"""A frozen part of a base model, in memory for as long as it is of use: a text encoder, the picture encoder.

Encoders work before the first step and then hardly ever: texts and pictures are kept encoded, only samples are decoded.
What rests is given up wholly, on the device and on the host, and loaded again from the base model's files for a use.
That costs next to nothing, because weights in the format that is computed with are not copied but mapped: whatever is
not read of them is in no memory, and what was read the system takes back at will. Nothing is written for it anywhere.

In: how a part is loaded. Out: the part on its device. Knows no family, no format and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import nn

ModelT = TypeVar("ModelT", bound=nn.Module)


class Part(Generic[ModelT]):
    """A model that comes to the device with its first use, stays until it is told to rest, and then comes for each.

    A model whose parameters learn, or that something trained sits in, must not rest: it would come back as it was.
    """

    def __init__(self, load: Callable[[], ModelT], device: torch.device) -> None:
        """Load the model to where its files are mapped, so that a broken one is told of at once.

        Args:
            load: reads the same bits each time; called again after a rest.
            device: where it works.
        """
        self._load, self._device = load, device
        self._model: ModelT | None = freeze(load())
        self._has_arrived = self._rests = False

    @property
    def is_in_memory(self) -> bool:
        """Whether there is anything of it but the recipe."""
        return self._model is not None

    @property
    def model(self) -> ModelT:
        """The model on its device."""
        if self._model is None:
            self._model = freeze(self._load())
        if not self._has_arrived:  # a live encoder is asked for in every step, and going over its modules takes a while
            self._model.to(self._device)
            self._has_arrived = True
        return self._model

    @contextmanager
    def awake(self) -> Iterator[ModelT]:
        """Have the model on its device inside the block, and afterwards if it is not to rest."""
        try:
            yield self.model
        finally:
            if self._rests:
                self.rest()

    def rest(self) -> None:
        """Leave memory now, and after each use to come."""
        self._rests, self._model, self._has_arrived = True, None, False


def freeze(model: ModelT) -> ModelT:
    """Return a model that neither learns nor drops anything."""
    model.requires_grad_(requires_grad=False).eval()
    return model


def rest_parts(*parts: Part[nn.Module]) -> None:
    """Let parts rest, and give the device what they held."""
    for part in parts:
        part.rest()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
