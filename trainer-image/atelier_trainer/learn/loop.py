"""Training, on one page.

    for step: batch -> loss -> backward -> clip -> step -> report

Everything above it (what a batch is, what is trained, what the loss means) is a family's, a method's or the data's.
There is no random state here and no position but the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch

from atelier_contract.settings import Settings
from atelier_trainer.learn.assembly import BatchAssembler
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.keeping import Keeper
from atelier_trainer.learn.optimizer import clip_gradients, set_rate
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.schedule import scale_rate
from atelier_trainer.records import Control


class Ending(Enum):
    """Why the loop ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Course:
    """The parts that the loop joins."""

    settings: Settings
    batches: BatchAssembler
    gradients: GradientComputer
    optimizer: torch.optim.Optimizer
    keeper: Keeper
    progress: Progress
    control: Control


def run_steps(course: Course) -> Ending:
    """Train from the present step to the last, or until told to end.

    A stop keeps a checkpoint of the present step, an interruption its state alone.

    Raises:
        Diverged: the loss is not finite or far off.
        OutOfMemory: one picture at a time does not fit.
    """
    settings, progress, keeper = course.settings, course.progress, course.keeper
    keeper.keep_due(progress.step)
    for step in range(progress.step, settings.steps):
        if course.control.interrupted():
            keeper.keep_state(step)
            return Ending.INTERRUPTED
        if course.control.stop_asked():
            if step > 0:
                keeper.keep_checkpoint(step)
            return Ending.STOPPED
        batch = course.batches.assemble(step)
        loss = course.gradients.compute(batch, step)
        clip_gradients(course.optimizer, settings.max_grad_norm)
        set_rate(course.optimizer, scale_rate(step, settings.steps, settings.warmup_steps, settings.schedule))
        course.optimizer.step()
        course.optimizer.zero_grad()
        progress.losses.note(loss)
        progress.note_step(step + 1)
        keeper.keep_due(step + 1)
    return Ending.COMPLETE
