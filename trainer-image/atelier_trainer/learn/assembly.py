"""The batch of a step: latents, noise, timesteps and texts of its pictures, all from seeded draws.

In: a step. Out: tensors on the training device. The place of every draw is (step, item in the whole batch), so that
micro-batches, retries and resumes see the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    """What one pass learns from: B pictures of one shape, a whole step's or a part of them.

    The denominators are the whole step's, so that the losses of parts (micro-batches, ranks) just add up:
    Σ row_weights · mean over pixels (mask · error²) / mask_total over the dataset's rows, and for prior rows the sum
    over prior_total, times the weight that the settings give them.
    """

    latents: Tensor
    """[B, C, H, W] float32, drawn from the posteriors."""
    noise: Tensor
    """[B, C, H, W] float32."""
    timesteps: Tensor
    """[B]."""
    texts: Sequence[str]
    row_weights: Tensor
    """[B] float32, 1 for every row that is learned from, prior rows too; 0 for a row that only fills a shape."""
    mask_total: float
    """Sum of all mask elements over H · W, of the whole step's dataset rows; their number where there are no masks."""
    masks: Tensor | None = None
    """[B, 1, H, W] float32 from `masks.FLOOR` to 1, prior rows all 1; None in all steps of a run without any mask."""
    prior_rows: int = 0
    """How many of the last rows are prior pictures: their target is what the base model itself answers."""
    prior_total: int = 0
    """Prior rows of the whole step."""

    def split(self, size: int) -> Iterator[tuple[int, Batch]]:
        """Yield micro-batches of at most `size` pictures, each with the index of its first."""
        for first in range(0, len(self.texts), size):
            yield first, self.take(slice(first, first + size))

    def take(self, rows: slice) -> Batch:
        """Return some consecutive rows as a batch of their own, with the whole step's denominators."""
        first, end, _ = rows.indices(len(self.texts))
        dataset_rows = len(self.texts) - self.prior_rows
        return replace(
            self,
            latents=self.latents[rows],
            noise=self.noise[rows],
            timesteps=self.timesteps[rows],
            texts=self.texts[rows],
            row_weights=self.row_weights[rows],
            masks=None if self.masks is None else self.masks[rows],
            prior_rows=max(0, end - max(first, dataset_rows)),
        )


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
        offset, shape = self.settings.noise_offset, latents[0].shape
        noise = [self.draws.noise(shape, offset, step, item) for item in range(len(indices))]
        timesteps = [
            self.family.draw_timestep(self.draws.generator("timestep", step, item), latents[0].shape)
            for item in range(len(indices))
        ]
        texts = [self._draw_text(step, item, index) for item, index in enumerate(indices)]
        return Batch(
            torch.stack(latents).to(device),
            torch.stack(noise).to(device),
            torch.stack(timesteps).to(device),
            texts,
            row_weights=torch.ones(len(indices), device=device),
            mask_total=float(len(indices)),
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
