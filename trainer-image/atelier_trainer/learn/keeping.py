"""What is kept and when: a state every five minutes and before each checkpoint, a checkpoint every N steps and last.

The state goes first, so that a pod which dies while it samples loses the sampling and not the steps: the next attempt
finds the state of that step without a checkpoint and makes it before it goes on. Nothing that is not finite is saved.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from atelier_contract.identity import name_checkpoint
from atelier_contract.manifests import CheckpointManifest
from atelier_trainer.errors import Diverged
from atelier_trainer.learn.checkpoints import CheckpointWriter
from atelier_trainer.learn.ema import RunningMean
from atelier_trainer.learn.execution import Execution
from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.state import write_state
from atelier_trainer.learn.stepping import Stepper
from atelier_trainer.records import Clock, Recorder

log = logging.getLogger(__name__)
STATE_SECONDS = 300.0
"""Longest stretch of training that a lost pod costs (DESIGN: at most five minutes)."""


@dataclass
class Keeper:
    """Keeps the states and checkpoints of one attempt."""

    writer: CheckpointWriter
    optimizer: torch.optim.Optimizer
    mean: RunningMean
    stepper: Stepper
    execution: Execution
    recorder: Recorder
    progress: Progress
    clock: Clock
    pause: Pause
    scratch: Path
    kept_steps: set[int]
    """Steps whose checkpoint is whole in the store: the first whole manifest of a step wins."""

    def __post_init__(self) -> None:
        """Start the clock of states."""
        self._state_step = self.progress.from_step
        self._state_time = self.clock()
        self._recorded = {name: getattr(self.execution.manifest, name) for name in self.stepper.describe()}
        self._is_settled = not self.execution.is_first

    def keep_due(self, step: int) -> None:
        """Keep whatever is due after a step, or at the start of an attempt."""
        settings = self.writer.settings
        if step % settings.every_steps == 0 or step == settings.steps:
            self.keep_checkpoint(step)
        elif self.clock() - self._state_time >= STATE_SECONDS:
            self.keep_state(step)

    def keep_state(self, step: int) -> None:
        """Write the state of a step, unless it is the one this attempt came from or wrote last.

        Raises:
            Diverged: losses or weights are not finite; nothing was written.
        """
        losses = self.progress.losses.read(step)
        if step == self._state_step:
            return
        self._settle_execution()
        parameters = self.writer.method.named_parameters()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters.values()):
            raise Diverged(f"weights are no longer finite at step {step}: lower spec.learningRate")
        folder = self.scratch / "states" / name_checkpoint(step)
        identity, exact = self.writer.told.run_identity, self.progress.exact
        manifest = write_state(
            folder, step, parameters, self.optimizer, losses, mean=self.mean, run_identity=identity, exact=exact
        )
        self.recorder.record_state(folder, manifest)
        self._state_step, self._state_time = step, self.clock()

    def keep_checkpoint(self, step: int) -> None:
        """Write state and checkpoint of a step, the checkpoint unless it is whole already."""
        if step in self.kept_steps:
            self.keep_state(step)
            return
        self.progress.enter("Checkpointing")
        self.keep_state(step)
        folder = self.scratch / "checkpoints" / name_checkpoint(step)
        with self.mean.in_place():
            manifest = self._write_checkpoint(folder, step)
        losses = self.progress.losses.read(step)
        manifest = manifest.model_copy(update={"training_loss": sum(losses) / len(losses) if losses else None})
        self.recorder.record_checkpoint(folder, manifest)
        self.kept_steps.add(step)
        self.progress.note_checkpoint(manifest)
        self.progress.enter("Training")

    def _write_checkpoint(self, folder: Path, step: int) -> CheckpointManifest:
        """Write a checkpoint; where memory runs short, once more without what captured steps hold of it.

        They hold it between steps too, and were made as large as memory takes, so that little is left for samples.
        """
        try:
            return self.writer.write(folder, step, self.pause)
        except torch.OutOfMemoryError:
            if not self.stepper.release():
                raise
        log.warning("memory does not suffice to measure and sample beside captured steps: they are captured anew")
        shutil.rmtree(folder)
        return self.writer.write(folder, step, self.pause)

    def _settle_execution(self) -> None:
        """Record how the first attempt computes, or notice that the steps since could not go on as recorded.

        It is done before a state is written, not at the start: only then is it known which micro-batch fits, and only a
        state makes it matter. Memory may run short later, in the first attempt too.
        """
        now = self.stepper.describe()
        if not self._is_settled:
            accumulation = -(-self.writer.settings.batch_size // now["micro_batch"])
            fitting = {**now, "accumulation": accumulation}
            self.recorder.record_execution(self.execution.manifest.model_copy(update=fitting))
        elif now["micro_batch"] != self._recorded["micro_batch"]:
            self._lose_exactness(f"memory suffices for {now['micro_batch']} pictures at a time, fewer than at first")
        elif now["recomputes"] != self._recorded["recomputes"]:
            self._lose_exactness("memory suffices only if activations are computed twice, at first they were kept")
        elif now != self._recorded:
            self._lose_exactness(
                f"steps are {now['compile_mode']}, at first they were {self._recorded['compile_mode']}"
            )
        self._recorded, self._is_settled = now, True

    def _lose_exactness(self, reason: str) -> None:
        self.progress.exact = False
        self.progress.warn(f"not exact: {reason}")
