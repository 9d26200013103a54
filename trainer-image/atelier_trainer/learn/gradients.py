"""The gradient of a batch, summed over micro-batches that fit the device.

The loss is the mean over the batch of each picture's weighted mean squared error, whatever the micro-batch. When memory
runs out the micro-batch is halved and the step done again: draws depend on the item alone, so nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atelier_contract.settings import Settings
from atelier_trainer.errors import OutOfMemory
from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.draws import Draws, seed_of
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.objective import compute_loss
from atelier_trainer.learn.prompts import PromptEncoder


@dataclass
class GradientComputer:
    """Computes gradients of one run."""

    family: Family
    method: Method
    prompts: PromptEncoder
    settings: Settings
    draws: Draws
    micro_batch: int

    def compute(self, batch: Batch, step: int) -> Tensor:
        """Add the batch's gradients to the parameters, which have none before; return its loss, a scalar on the device.

        Raises:
            OutOfMemory: not even one picture at a time fits.
        """
        while True:
            try:
                return self._accumulate(batch, step)
            except torch.OutOfMemoryError as error:
                if self.micro_batch == 1:
                    raise OutOfMemory(describe_shortage(self.settings)) from error
            self.micro_batch = -(-self.micro_batch // 2)
            for parameter in self.method.named_parameters().values():
                parameter.grad = None
            torch.cuda.empty_cache()

    def _accumulate(self, batch: Batch, step: int) -> Tensor:
        total = torch.zeros((), device=self.family.device)
        for first, part in batch.split(self.micro_batch):
            if self.method.is_stochastic:  # dropout layers draw from torch's global generator
                torch.manual_seed(seed_of(self.draws.seed, "dropout", step, first))
            conditions = self.prompts.encode(part.texts)
            loss = compute_loss(self.family, self.method, part, conditions, self.settings)
            loss.backward()
            total += loss.detach()
        return total


def describe_shortage(settings: Settings) -> str:
    """Return what to lower when the device's memory does not suffice."""
    return (
        f"the device's memory does not suffice for one picture at {settings.resolution} px: "
        "lower spec.tuning.resolution, or ask for a larger GPU (spec.pod.nodeSelector)"
    )
