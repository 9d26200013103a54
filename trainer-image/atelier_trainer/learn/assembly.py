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
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import Latents
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.masks import PictureMasks
from atelier_trainer.learn.priors import PriorRows
from atelier_trainer.learn.texts import PictureTexts
from atelier_trainer.learn.transfers import move_to

ALL = slice(None)


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
    mask_total: float | Tensor
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
class Row:
    """One row of a batch, as it is drawn."""

    latents: Tensor
    """[C, H, W] float32."""
    text: str
    mask: Tensor | None
    """[1, H, W] float32; None in a run without masks."""


@dataclass(frozen=True)
class BatchAssembler:
    """Assembles the batch of any step."""

    family: Family
    settings: Settings
    texts: PictureTexts
    latents: PictureLatents
    """Of the training pictures, in the run's order."""
    plan: BatchPlan
    draws: Draws
    masks: PictureMasks | None = None
    """None: no picture of the run has one."""
    priors: PriorRows | None = None
    """None: no prior preservation. Else a batch has as many prior rows again as dataset rows."""

    @property
    def rows(self) -> int:
        """Return how many rows the whole batch of any step has."""
        return self.settings.batch_size * (2 if self.priors else 1)

    def assemble(self, step: int, rows: slice = ALL) -> Batch:
        """Return the batch of a step (steps done before it), or some of its rows with the whole batch's denominators.

        Args:
            step: steps done before it.
            rows: consecutive rows of the whole batch, dataset rows before prior rows; there may be none.
        """
        indices = self.plan.read_batch(step)
        prior_total = len(indices) if self.priors else 0
        items = range(len(indices) + prior_total)[rows]
        shape, device = self.latents.latent_shape(indices[0]), self.family.device
        drawn = [self._draw_row(step, item, indices, shape) for item in items]
        noise = [self.draws.noise(shape, self.settings.noise_offset, step, item) for item in items]
        times = [self.family.draw_timestep(self.draws.generator("timestep", step, item), shape) for item in items]
        masks = [row.mask for row in drawn if row.mask is not None]
        return Batch(
            latents=move_to(device, _stack([row.latents for row in drawn], shape)),
            noise=move_to(device, _stack(noise, shape)),
            timesteps=move_to(device, _stack(times, torch.Size())),
            texts=[row.text for row in drawn],
            row_weights=torch.ones(len(drawn), device=device),
            mask_total=self._total_masks(indices),
            masks=move_to(device, _stack(masks, torch.Size((1, *shape[1:])))) if self.masks else None,
            prior_rows=sum(item >= len(indices) for item in items),
            prior_total=prior_total,
        )

    def _draw_row(self, step: int, item: int, indices: Sequence[int], shape: torch.Size) -> Row:
        """Return one row of the whole batch."""
        if item >= len(indices):
            assert self.priors is not None  # noqa: S101 - else there is no such row
            latents, text = self.priors.draw(step, item, self.plan.shapes[indices[0]])
            return Row(self._sample(latents, step, item), text, torch.ones(1, *shape[1:]) if self.masks else None)
        index = indices[item]
        flip = self.settings.flip and self.draws.happens(0.5, "flip", step, item)
        return Row(
            self._sample(self.latents.read(index, flip=flip), step, item),
            self.texts.draw(step, item, index),
            self.masks.read(index, shape[1:], flip=flip) if self.masks else None,
        )

    def _sample(self, latents: Latents, step: int, item: int) -> Tensor:
        """Return one sample of a posterior, [C, H, W] float32."""
        mean = latents.mean.float()
        if latents.deviation is None:
            return mean
        return mean + latents.deviation.float() * self.draws.normal(mean.shape, "posterior", step, item)

    def _total_masks(self, indices: Sequence[int]) -> float:
        return sum(self.masks.weigh(index) for index in indices) if self.masks else float(len(indices))


def _stack(rows: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """Return rows of a shape as one tensor, also where there are none."""
    return torch.stack(list(rows)) if rows else torch.empty(0, *shape)
