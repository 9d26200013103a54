"""The batch of a step: latents, noise, timesteps and texts of its pictures, all from seeded draws.

In: a step. Out: tensors on the training device. The place of every draw is (step, item in the whole batch), so that
micro-batches, retries and resumes see the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atelier_contract.settings import Settings
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.captions import Wording
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.latents import PictureLatents


@dataclass(frozen=True)
class Batch:
    """What one step learns from. B pictures of one shape."""

    latents: Tensor
    """[B, C, H, W] float32, drawn from the posteriors."""
    noise: Tensor
    """[B, C, H, W] float32."""
    timesteps: Tensor
    """[B]."""
    texts: Sequence[str]

    def split(self, size: int) -> Iterator[tuple[int, Batch]]:
        """Yield micro-batches of at most `size` pictures, each with the index of its first."""
        for first in range(0, len(self.texts), size):
            part = slice(first, first + size)
            yield first, Batch(self.latents[part], self.noise[part], self.timesteps[part], self.texts[part])


@dataclass(frozen=True)
class BatchAssembler:
    """Assembles the batch of any step."""

    family: Family
    settings: Settings
    captions: Sequence[str | None]
    """Of the training pictures, in the run's order."""
    latents: PictureLatents
    plan: BatchPlan
    wording: Wording
    draws: Draws

    def assemble(self, step: int) -> Batch:
        """Return the batch of a step (steps done before it)."""
        indices = self.plan.read_batch(step)
        device = self.family.device
        latents = [self._draw_latents(step, item, index) for item, index in enumerate(indices)]
        noise = [self.draws.normal(latents[0].shape, "noise", step, item) for item in range(len(indices))]
        timesteps = [
            self.family.draw_timestep(self.draws.generator("timestep", step, item)) for item in range(len(indices))
        ]
        texts = [self._draw_text(step, item, index) for item, index in enumerate(indices)]
        return Batch(
            torch.stack(latents).to(device), torch.stack(noise).to(device), torch.stack(timesteps).to(device), texts
        )

    def _draw_latents(self, step: int, item: int, index: int) -> Tensor:
        """Return one sample of a picture's posterior, [C, H, W], mirrored half of the time where asked."""
        flip = self.settings.flip and self.draws.happens(0.5, "flip", step, item)
        mean, deviation = self.latents.read(index, flip=flip)
        return mean + deviation * self.draws.normal(mean.shape, "posterior", step, item)

    def _draw_text(self, step: int, item: int, index: int) -> str:
        if self.draws.happens(self.settings.caption_dropout, "caption dropout", step, item):
            return ""
        pick = self.draws.pick(len(self.wording.phrasings), "phrasing", step, item) if self.wording.phrasings else 0
        return self.wording.word(self.captions[index], pick)
