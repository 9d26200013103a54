"""Training, on one page.

    for step: batch -> loss -> backward -> clip -> step -> report

The four in the middle are `Stepper.take`: on a fast device they are one launch.

Everything above it (what a batch is, what is trained, what the loss means) is a family's, a method's or the data's.
There is no random state here and no position but the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol

from atelier_contract.settings import Settings
from atelier_trainer.learn.assembly import BatchAssembler
from atelier_trainer.learn.ema import RunningMean
from atelier_trainer.learn.optimizer import set_rate
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.ranks import Ranks
from atelier_trainer.learn.schedule import scale_rate
from atelier_trainer.learn.stepping import Stepper
from atelier_trainer.records import Control


class Ending(Enum):
    """Why the loop ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class Flag(IntEnum):
    """What ranks agree on before each step, and after whatever may be left early: the largest holds for all."""

    GO_ON = 0
    STOP = 1
    LEAVE = 2


class Keeps(Protocol):
    """Keeps states and checkpoints, or leaves it to the rank that does."""

    def keep_due(self, step: int) -> None:
        """Keep whatever is due after a step, or at the start of an attempt."""

    def keep_state(self, step: int) -> None:
        """Keep the state of a step."""

    def keep_checkpoint(self, step: int) -> None:
        """Keep state and checkpoint of a step."""


@dataclass(frozen=True)
class Course:
    """The parts that the loop joins."""

    settings: Settings
    batches: BatchAssembler
    stepper: Stepper
    mean: RunningMean
    keeper: Keeps
    progress: Progress
    control: Control
    ranks: Ranks


def run_steps(course: Course) -> Ending:
    """Train from the present step to the last, or until told to end.

    A stop keeps a checkpoint of the present step, an interruption its state alone.

    Raises:
        Diverged: the loss is not finite or far off.
        OutOfMemory: one picture at a time does not fit.
        PeerLost: another process of the run is gone.
    """
    ending = _run(course)
    # The leader may have had to leave while it kept the last checkpoint, and nobody leaves before that is known.
    if ending is not Ending.INTERRUPTED and course.ranks.agree(Flag.GO_ON) == Flag.LEAVE:
        return Ending.INTERRUPTED
    return ending


def _run(course: Course) -> Ending:
    settings, progress, keeper = course.settings, course.progress, course.keeper
    keeper.keep_due(progress.step)
    for step in range(progress.step, settings.steps):
        flag = course.ranks.agree(read_flag(course.control))
        if flag == Flag.LEAVE:
            keeper.keep_state(step)
            return Ending.INTERRUPTED
        if flag == Flag.STOP:
            if step > 0:
                keeper.keep_checkpoint(step)
            return Ending.STOPPED
        course.stepper.agree_on_size()
        rows = course.ranks.rows(course.batches.rows)
        batch = course.batches.assemble(step, rows)
        set_rate(course.stepper.optimizer, scale_rate(step, settings), step)
        loss = course.stepper.take(batch, step, rows.start)
        course.mean.update(step + 1)
        progress.losses.note(loss)
        progress.note_step(step + 1)
        keeper.keep_due(step + 1)
    return Ending.COMPLETE


def read_flag(control: Control) -> Flag:
    """Return what this rank says before a step."""
    if control.interrupted():
        return Flag.LEAVE
    return Flag.STOP if control.stop_asked() else Flag.GO_ON
