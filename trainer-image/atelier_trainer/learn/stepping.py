"""One step of training: the gradient of a batch, its sum over processes, clipping, the optimiser.

Everything it touches lies in a few flat tensors, so that all but the passes themselves is a handful of operations. It
waits for no device. Where the execution says so, steps are captured as a whole and replayed (`capture`); what cannot be
captured is done operation by operation, and both do the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.capture import CapturedSteps, CaptureFailed
from atelier_trainer.learn.compilation import Compilation
from atelier_trainer.learn.gradients import GradientComputer, Pass
from atelier_trainer.learn.optimizer import clip_gradients, list_learning, take_step
from atelier_trainer.learn.ranks import ALONE, Ranks

log = logging.getLogger(__name__)


@dataclass
class Stepper:
    """Takes the steps of one attempt."""

    gradients: GradientComputer
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    ranks: Ranks = ALONE
    recomputes: bool = False
    """Whether activations are recomputed in the backward pass."""
    captured: CapturedSteps | None = None
    """Replays steps; None: each is computed operation by operation."""
    substitute: Callable[[], Compilation] | None = None
    """What steps that cannot be captured are compiled by; None: they are not."""

    def describe(self) -> dict[str, Any]:
        """Return how steps are computed by now, in the words of execution.json."""
        parts = ("captured" if self.captured else "", "compiled" if self.gradients.compilation else "")
        return {
            "micro_batch": self.gradients.micro_batch,
            "compile_mode": " ".join(part for part in parts if part) or "eager",
            "recomputes": self.recomputes,
        }

    def take(self, batch: Batch, step: int, first: int = 0) -> Tensor:
        """Learn from a batch; return its loss over all processes, a scalar on the device.

        Args:
            batch: this process's rows of the whole batch; there may be none.
            step: steps done before.
            first: place of the batch's first row in the whole batch.

        Raises:
            OutOfMemory: not even one picture at a time fits.
            PeerLost: another process of the run is gone.
        """
        if self.captured is not None and self._is_capturable(step):
            loss = self._replay(self.captured, batch, step)
            if loss is not None:
                return loss
        loss = self.gradients.compute(batch, step, first)
        self.ranks.reduce(loss)
        for flat in self.gradients.method.flat_parameters():
            self.ranks.reduce(flat.gradient)
        self._update()
        return loss

    def agree_on_size(self) -> None:
        """Let all ranks compute as few pictures at a time as the one with the least memory. Every rank must call it.

        The leader alone records how steps are computed: what it records has to hold for all of them.

        Raises:
            PeerLost: another process of the run is gone.
        """
        if self.ranks.count > 1:
            self.gradients.micro_batch = -self.ranks.agree(-self.gradients.micro_batch)

    def learn(self, passes: Sequence[Pass]) -> Tensor:
        """Learn from prepared passes, alone; return their loss. This is what a captured step holds."""
        loss = self.gradients.run(passes)
        self._update()
        return loss

    def list_state(self) -> list[Tensor]:
        """Return every tensor that a step changes and a later one reads."""
        return list(self._list_state())

    def release(self) -> bool:
        """Give back the memory that captured steps hold until they are captured anew; return whether there was any."""
        if self.captured is None or not self.captured.drop():
            return False
        torch.cuda.empty_cache()
        return True

    def _update(self) -> None:
        """Let the optimiser follow the gradients, and forget them."""
        clip_gradients(self.optimizer, self.max_grad_norm)
        take_step(self.optimizer)
        for flat in self.gradients.method.flat_parameters():
            flat.refresh()
            flat.clear()

    def _is_capturable(self, step: int) -> bool:
        """Return whether a step does the same operations as the ones after it.

        The first step of a parameter does not: the optimiser makes its moments then. Nor do live texts, which the host
        has to cut into tokens.
        """
        learning = [parameter for group in list_learning(self.optimizer) for parameter in group["params"]]
        return not self.gradients.is_live(step) and all(self.optimizer.state.get(one) for one in learning)

    def _replay(self, captured: CapturedSteps, batch: Batch, step: int) -> Tensor | None:
        """Take a step as a captured one; None where steps cannot be captured, and nothing has changed."""
        while True:
            try:
                learning = len(list_learning(self.optimizer))
                return captured.take(self.gradients.prepare(batch, step), step, learning)
            except torch.OutOfMemoryError as error:
                captured.drop()
                if self.gradients.micro_batch == 1:  # a recording needs more than a step, and the first one was taken
                    self._stop_capturing(error)
                    return None
                self.gradients.shrink(error)
            except CaptureFailed as error:
                if self.substitute is not None and self.gradients.compilation is None:
                    self.gradients.compilation = self.substitute()
                self._stop_capturing(error)
                return None

    def _stop_capturing(self, error: Exception) -> None:
        """Go on without recordings, and say why."""
        self.captured = None
        log.warning("a step cannot be captured (%s): steps are %s", error, self.describe()["compile_mode"])

    def _list_state(self) -> Iterator[Tensor]:
        for flat in self.gradients.method.flat_parameters():
            yield from flat.buffers()
        for entries in self.optimizer.state.values():
            yield from (entry for entry in entries.values() if isinstance(entry, Tensor))
