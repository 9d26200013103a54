"""What each side learns, seed by seed: the training that is timed, done again without a clock.

One seed says little where batches are small and steps many, so ours is judged over several: the two sides of a pair
have a seed in common and, as each draws in its own way, nothing else. A side's seeds are trained one after another in
one process, as its libraries take longer to load than some of them to train, and none is begun after a given time: the
clock may leave seeds out, their losses never do.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from trainer_pace import Captioned, Pace, Task
from trainer_statistics import Estimate, cover, divide_pairs, estimate
from trainer_turns import FINISH_SECONDS, SideName, load_side

LOSS_MARGIN = 0.01
"""Ours is worse where the median of the pairs' ratios is above 1 by more than this."""


@dataclass(frozen=True)
class Judged:
    """Held-out losses of both sides after as many steps, by seed, the timed run's first."""

    name: str
    """Of the comparison."""
    ours: Sequence[float]
    peer: Sequence[float]
    """One side may have come further; its last seeds then have no pair and do not count."""

    @property
    def ratios(self) -> list[float]:
        """Ours over the peer's, by seed."""
        pairs = min(len(self.ours), len(self.peer))
        return divide_pairs(self.ours[:pairs], self.peer[:pairs])

    @property
    def ratio(self) -> Estimate:
        """Their median with its order-statistic interval."""
        return estimate(self.ratios)

    @property
    def is_worse(self) -> bool:
        """Whether ours learns less than the peer by more than the margin."""
        return self.ratio.median > 1 + LOSS_MARGIN

    def __str__(self) -> str:
        sure = f"{cover(len(self.ratios)):.0%} sure"
        return f"{self.name}: ours ends at {self.ratio} of the peer's held-out loss ({len(self.ratios)} seeds, {sure})"


def learn(name: SideName, tasks: Sequence[Task], held_out: Sequence[Captioned], until_seconds: float) -> list[float]:
    """Train each task in one process of a side, its warm steps and no more, and return the held-out losses.

    Args:
        name: the side.
        tasks: the first is trained in any case.
        held_out: the pictures to measure on.
        until_seconds: of `time.monotonic`, which all processes share; no task but the first is begun after it.
    """
    if not tasks:
        return []
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=run_seeds, args=(name, tasks, held_out, until_seconds, theirs), name=f"{name}, losses"
    )
    process.start()
    theirs.close()
    try:
        losses: list[float] = ours.recv()
    except EOFError as error:
        raise RuntimeError(f"the side {name!r} ended without its losses: see its output above") from error
    finally:
        process.join(FINISH_SECONDS)
    return losses


def run_seeds(
    name: SideName,
    tasks: Sequence[Task],
    held_out: Sequence[Captioned],
    until_seconds: float,
    connection: Connection,
) -> None:
    """Train and measure each task; the entry of a side's process."""
    run = load_side(name, tasks[0].threads)
    from trainer_held_out import measure_file  # noqa: PLC0415  # a side's process loads what the side needs

    losses: list[float] = []
    for task in tasks:
        if losses and time.monotonic() > until_seconds:
            break
        with tempfile.TemporaryDirectory(prefix="atelier-bench-") as scratch:
            commander, paced = multiprocessing.Pipe()
            commander.send(("finish", 1))  # told beforehand: it trains its warm steps and ends
            finished = run(replace(task, scratch=Path(scratch)), Pace(paced, task.warm_steps))
            losses.append(measure_file(task, held_out, finished.file))
    connection.send(losses)
