"""Random numbers without random state: every draw is a function of seed, purpose and place.

A generator that lives through a run makes each number depend on all numbers drawn before it, so that sampling once
more, another rank or a retry changes everything after. Here nothing lives: a draw is seeded by a digest of what it is
for. Resuming therefore needs no random state, and the order of drawing is free.

In: seeds and places. Out: CPU generators and tensors. It knows neither families nor methods.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

SEED_BITS = 63
"""torch takes signed 64-bit seeds."""


def seed_of(*place: int | str) -> int:
    """Return the seed that belongs to a place: the first 63 bits of the sha256 of its parts."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def build_generator(*place: int | str) -> Generator:
    """Return a fresh CPU generator for one place."""
    return Generator(device="cpu").manual_seed(seed_of(*place))


@dataclass(frozen=True)
class Draws:
    """Everything random of one run, by purpose, step and item.

    `step` is the number of optimiser steps done before; `item` counts through the whole batch, not the micro-batch.
    """

    seed: int

    def generator(self, purpose: str, *place: int | str) -> Generator:
        """Return the generator of one purpose at one place."""
        return build_generator(self.seed, purpose, *place)

    def normal(self, shape: torch.Size, purpose: str, *place: int | str) -> Tensor:
        """Return standard normal numbers of a shape, float32, on the CPU."""
        return torch.randn(shape, generator=self.generator(purpose, *place))

    def noise(self, shape: torch.Size, offset: float, step: int, item: int) -> Tensor:
        """Return the noise that one picture [C, H, W] is given in a step.

        With an offset o it is ε + o·η, where η is one standard normal number a channel, the same at every place, so
        that the model also learns to move a picture's mean (Guttenberg 2023, "Diffusion with offset noise").
        """
        noise = self.normal(shape, "noise", step, item)
        if offset == 0:
            return noise
        return noise + offset * self.normal(torch.Size((shape[0], 1, 1)), "noise offset", step, item)

    def happens(self, probability: float, purpose: str, *place: int | str) -> bool:
        """Return whether an event of this probability happens here."""
        if probability <= 0:
            return False
        return float(torch.rand((), generator=self.generator(purpose, *place))) < probability

    def pick(self, count: int, purpose: str, *place: int | str) -> int:
        """Return a whole number from 0 to below `count`."""
        return int(torch.randint(count, (), generator=self.generator(purpose, *place)))

    def order(self, count: int, purpose: str, *place: int | str) -> list[int]:
        """Return the numbers from 0 to below `count` in random order."""
        return [int(i) for i in torch.randperm(count, generator=self.generator(purpose, *place))]
