"""The gradient of a batch, summed over micro-batches that fit the device.

A micro-batch's loss is its share of the batch's (see `objective`), so that the gradients of micro-batches, and of the
rows of several processes, just add up. When memory runs out the micro-batch is halved and the batch done again: draws
depend on the item alone, so nothing else changes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from atelier_contract.settings import Settings
from atelier_trainer.errors import OutOfMemory
from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.compilation import Compilation
from atelier_trainer.learn.draws import Draws, seed_of
from atelier_trainer.learn.families.base import Conditions, Family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.objective import compute_loss
from atelier_trainer.learn.prompts import PromptEncoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: a micro-batch with what the denoiser is told of it, all on the device."""

    part: Batch
    conditions: Conditions


@dataclass
class GradientComputer:
    """Computes gradients of one run."""

    family: Family
    method: Method
    prompts: PromptEncoder
    settings: Settings
    draws: Draws
    micro_batch: int
    compilation: Compilation | None = None
    """Compiled code for the passes; None: they run operation by operation."""

    def compute(self, batch: Batch, step: int, first: int = 0) -> Tensor:
        """Add a batch's gradients to the flat parameters, which have none before; return its loss, on the device.

        Args:
            batch: this process's rows; there may be none.
            step: steps done before.
            first: place of its first row in the whole batch.

        Raises:
            OutOfMemory: not even one picture at a time fits.
        """
        while True:
            try:
                return self._accumulate(batch, step, first)
            except torch.OutOfMemoryError as error:
                self.shrink(error)
            except RuntimeError as error:  # whatever a compiler says; without it the same comes again, and goes on up
                if self.compilation is None:
                    raise
                log.warning("the denoiser cannot be compiled, its steps are slower: %s", error)
                self.compilation = None
                self.forget()

    def shrink(self, error: torch.OutOfMemoryError) -> None:
        """Halve the micro-batch after a shortage, and forget what was computed.

        Raises:
            OutOfMemory: it was one picture already.
        """
        if self.micro_batch == 1:
            raise OutOfMemory(describe_shortage(self.settings)) from error
        self.micro_batch = -(-self.micro_batch // 2)
        self.forget()
        torch.cuda.empty_cache()

    def forget(self) -> None:
        """Set all gradients to zero."""
        for flat in self.method.flat_parameters():
            flat.clear()

    def rehearse(self, batch: Batch, step: int) -> None:
        """Compute a batch's gradients in one pass, uncompiled, and forget them: nothing that training reads changes.

        Raises:
            torch.OutOfMemoryError: it does not fit.
        """
        try:
            compute_loss(
                self.family, self.method, batch, self.prompts.encode(batch.texts, step), self.settings
            ).backward()
        finally:
            self.forget()

    def is_live(self, step: int) -> bool:
        """Return whether texts are encoded anew in a step, with gradients."""
        return self.method.has_live_text and self.method.learns_text_at(step)

    def prepare(self, batch: Batch, step: int) -> list[Pass]:
        """Return the passes of a batch whose texts are not live."""
        return [Pass(part, self.prompts.encode(part.texts, step)) for _, part in batch.split(self.micro_batch)]

    def run(self, passes: Sequence[Pass]) -> Tensor:
        """Add the gradients of passes to the flat parameters; return the sum of their losses. Waits for no device."""
        return self._sum([self._differentiate(one.part, one.conditions) for one in passes])

    def _accumulate(self, batch: Batch, step: int, first: int) -> Tensor:
        losses = []
        for start, part in batch.split(self.micro_batch):
            if self.method.is_stochastic:  # dropout layers draw from torch's global generator
                torch.manual_seed(seed_of(self.draws.seed, "dropout", step, first + start))
            losses.append(self._differentiate(part, self.prompts.encode(part.texts, step)))
        return self._sum(losses)

    def _differentiate(self, part: Batch, conditions: Conditions) -> Tensor:
        with self.compilation.in_place() if self.compilation else nullcontext():
            loss = compute_loss(self.family, self.method, part, conditions, self.settings)
            loss.backward()
        for flat in self.method.flat_parameters():
            flat.collect()
        return loss.detach()

    def _sum(self, losses: Sequence[Tensor]) -> Tensor:
        if not losses:  # a process without rows
            return torch.zeros((), device=self.family.device)
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        return total


def describe_shortage(settings: Settings) -> str:
    """Return what to lower when the device's memory does not suffice."""
    return (
        f"the device's memory does not suffice for one picture at {settings.resolution} px: "
        "lower spec.tuning.resolution, or ask for a larger GPU (spec.pod.nodeSelector)"
    )
