"""How many framework operations a step takes beside a plain loop with peft and the fused AdamW, for each family.

No clock is read: the counts are the same on every machine. The models are tiny, the layers of the real classes; the
benchmark counts the same at the families' real depth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from trainer_ours import run_ours
from trainer_pace import Captioned, Counted, Finished, Pace, Task
from trainer_peft_loop import run_peft_loop

from atelier_contract.architectures import Architecture
from learning import TEAPOTS
from tiny_models import WRITERS

MOST_RATIO = 0.8


@dataclass
class Script:
    """A connection that gives commands one after the other and keeps what is told."""

    commands: list[tuple[str, int]]
    told: list[Any] = field(default_factory=list)

    def send(self, answer: Any) -> None:
        self.told.append(answer)

    def recv(self) -> tuple[str, int]:
        return self.commands.pop(0)


def count_step(run: Callable[[Task, Pace], Finished], task: Task) -> tuple[int, Finished]:
    """Return the operations of one step after two warm ones, and what the side made."""
    script = Script([("count", 1), ("finish", 1)])
    finished = run(task, Pace(script, task.warm_steps))  # type: ignore[arg-type]  # all that is used of a connection
    (counted,) = [answer for answer in script.told if isinstance(answer, Counted)]
    return sum(counted.operations.values()), finished


def build_task(architecture: Architecture, folder: Path) -> Task:
    paths = sorted(TEAPOTS.glob("*.png"))[:2]
    return Task(
        kind="ConceptModel",
        base_model=WRITERS[architecture](folder / "base"),
        architecture=architecture,
        pictures=tuple(Captioned(path, hashlib.sha256(path.read_bytes()).hexdigest(), "a teapot") for path in paths),
        resolution_px=64,
        batch_size=2,
        rank=4,
        learning_rate=1e-3,
        placeholder="",
        initial_word="",
        vectors=1,
        threads=1,
        warm_steps=2,
        seed=0,
        scratch=folder / "scratch",
    )


@pytest.mark.parametrize("architecture", Architecture)
def test_a_step_takes_at_most_four_fifths_of_the_operations(architecture: Architecture, tmp_path: Path) -> None:
    """Both sides adapt the same layers at the same rank; ours adds, scales and gathers in fewer operations."""
    task = build_task(architecture, tmp_path)
    task.scratch.mkdir()
    ours, made = count_step(run_ours, task)
    theirs, reference = count_step(run_peft_loop, task)
    assert made.trained_parameters == reference.trained_parameters
    assert ours <= MOST_RATIO * theirs, f"{ours} operations beside {theirs}"
