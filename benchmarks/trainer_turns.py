"""Several sides measured in turns, each in a process of its own, all with the same task.

In: what each side runs. Out: seconds a step, stretch by stretch, side by side in time. The order within a turn is
reversed from one to the next, so that a machine which grows slower or faster favours nobody.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, TypeVar

from trainer_pace import Counted, Finished, Pace, Profiled, Ready, Stretch, Task

SideName = Literal["ours", "lora example", "inversion example", "peft loop"]
FINISH_SECONDS = 300.0
"""For a process that was told to end."""
Answer = TypeVar("Answer")


@dataclass
class Measured:
    """What was seen of one side."""

    ready: Ready
    stretches: list[Stretch] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """A step's, by stretch."""
    processor_seconds: list[float] = field(default_factory=list)
    """A step's, by stretch: what is left of them where other programs take part of the machine."""

    @property
    def peak_mib(self) -> float:
        """The most memory held until the last measured step."""
        return self.stretches[-1].peak_mib


class Side:
    """One side in a process of its own."""

    def __init__(self, name: SideName, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=run_side, args=(name, task, theirs), name=name)
        self._process.start()
        theirs.close()
        self.name = name
        self.steps = task.warm_steps
        """Taken so far."""
        self.ready: Ready | None = None

    def wait_until_ready(self) -> None:
        """Wait for the warm steps."""
        self.ready = self._receive(Ready)

    def run(self, steps: int) -> Stretch:
        """Let it take some steps."""
        self._connection.send(("run", steps))
        self.steps += steps
        return self._receive(Stretch)

    def count(self) -> dict[str, int]:
        """Let it take one step and return the operations."""
        self._connection.send(("count", 1))
        self.steps += 1
        return self._receive(Counted).operations

    def profile(self) -> int:
        """Let it take one step and return how often its host started work on the device."""
        self._connection.send(("profile", 1))
        self.steps += 1
        return self._receive(Profiled).launches

    def finish(self) -> Finished:
        """Let it write what it learned and end."""
        self._connection.send(("finish", 1))
        finished = self._receive(Finished)
        self._process.join(FINISH_SECONDS)
        return finished

    def end(self) -> None:
        """End the process if it still runs."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(FINISH_SECONDS)

    def _receive(self, kind: type[Answer]) -> Answer:
        try:
            answer = self._connection.recv()
        except EOFError as error:
            raise RuntimeError(f"the side {self.name!r} ended without an answer: see its output above") from error
        if not isinstance(answer, kind):
            raise TypeError(f"the side {self.name!r} answered {answer!r}")
        return answer


def run_side(name: SideName, task: Task, connection: Connection) -> None:
    """Run one side; the entry of its process."""
    pace = Pace(connection, task.warm_steps)
    connection.send(load_side(name, task.threads)(task, pace))


def load_side(name: SideName, threads: int) -> Callable[[Task, Pace], Finished]:
    """Return what a side runs, loaded into this process with nothing of the other sides."""
    import torch  # noqa: PLC0415  # a side's process loads what the side needs

    torch.set_num_threads(threads)
    if name == "ours":
        from trainer_ours import run_ours as run  # noqa: PLC0415  # see above
    elif name == "lora example":
        from trainer_peers import run_lora_example as run  # noqa: PLC0415  # see above
    elif name == "inversion example":
        from trainer_peers import run_inversion_example as run  # noqa: PLC0415  # see above
    else:
        from trainer_peft_loop import run_peft_loop as run  # noqa: PLC0415  # see above
    return run


@contextmanager
def open_sides(
    tasks: Mapping[str, tuple[SideName, Task]], meanwhile: Callable[[], None] | None = None
) -> Iterator[dict[str, Side]]:
    """Start sides, each with an empty scratch folder; end them at the end.

    Args:
        tasks: what each side trains.
        meanwhile: is called while all sides start at once, for their seconds are no figure then. None: they start one
            after the other, with nothing beside them.
    """
    with ExitStack() as stack:
        os.environ["OMP_NUM_THREADS"] = str(next(iter(tasks.values()))[1].threads)
        sides = {}
        for key, (name, task) in tasks.items():
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atelier-bench-")))
            sides[key] = side = Side(name, dataclasses.replace(task, scratch=scratch))
            stack.callback(side.end)
            if meanwhile is None:
                side.wait_until_ready()
        if meanwhile is not None:
            meanwhile()
            for side in sides.values():
                side.wait_until_ready()
        yield sides


def take_turns(sides: Mapping[str, Side], turns: int, steps: int) -> dict[str, Measured]:
    """Let sides train in turns and return what was measured."""
    measured = {key: Measured(side.ready) for key, side in sides.items() if side.ready}
    for turn in range(turns):
        for key in order_turn(list(sides), turn):
            stretch = sides[key].run(steps)
            measured[key].stretches.append(stretch)
            measured[key].seconds.append(stretch.seconds / steps)
            measured[key].processor_seconds.append(stretch.processor_seconds / steps)
    return measured


def order_turn(keys: Sequence[str], turn: int) -> list[str]:
    """Return the order of one turn: forwards in even ones, backwards in odd ones."""
    return list(keys) if turn % 2 == 0 else list(reversed(keys))
