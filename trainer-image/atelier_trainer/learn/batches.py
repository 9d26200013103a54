"""Which pictures a step trains on: a function of seed, epoch and step, with no position to remember.

In: the bucket of each picture. Out: for any step, the indices of its batch, all of one shape. Knows no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from atelier_materials.dataset.buckets import Shape
from atelier_trainer.learn.draws import Draws


@dataclass
class BatchPlan:
    """The order of pictures through all epochs.

    An epoch shows every picture at least once, or as often as its repeats say. The last batch of a bucket is filled
    from the bucket's beginning, in that epoch's order: a batch always has `batch_size` pictures, so no step is smaller
    than was asked.
    """

    shapes: Sequence[Shape]
    batch_size: int
    draws: Draws
    repeats: Sequence[int] = ()
    """How often an epoch shows each picture; empty: each once."""
    _epoch: tuple[int, list[list[int]]] = field(default=(-1, []), init=False)

    def __post_init__(self) -> None:
        """Sort pictures into buckets, in a fixed order of shapes."""
        buckets: dict[Shape, list[int]] = {}
        for index, shape in enumerate(self.shapes):
            buckets.setdefault(shape, []).extend([index] * (self.repeats[index] if self.repeats else 1))
        self._buckets = [buckets[shape] for shape in sorted(buckets)]
        self.steps_per_epoch = sum(-(-len(bucket) // self.batch_size) for bucket in self._buckets)

    def read_epoch(self, step: int) -> int:
        """Return the epoch that a step lies in, from 0."""
        return step // self.steps_per_epoch

    def read_batch(self, step: int) -> list[int]:
        """Return the picture indices of a step's batch."""
        epoch = self.read_epoch(step)
        if self._epoch[0] != epoch:  # kept only to save time: it is a function of the epoch
            self._epoch = (epoch, self._order_epoch(epoch))
        return self._epoch[1][step % self.steps_per_epoch]

    def _order_epoch(self, epoch: int) -> list[list[int]]:
        batches: list[list[int]] = []
        for number, bucket in enumerate(self._buckets):
            order = [bucket[i] for i in self.draws.order(len(bucket), "order", epoch, number)]
            starts = range(0, len(order), self.batch_size)
            batches += [[order[i % len(order)] for i in range(first, first + self.batch_size)] for first in starts]
        return [batches[i] for i in self.draws.order(len(batches), "batch order", epoch)]
