"""The pace of a measured process: it trains a few steps whenever it is told to, says how long they took, and waits.

Two sides are compared in turns (A B A B ...), each in a process of its own, so that neither sees the other's memory and
both see the same weather. A side calls `pass_step` before each of its steps; everything between two calls, batches and
losses and bookkeeping included, is a step. A waiting process takes no processor time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch
from counting import OperationCounter
from torch.profiler import ProfilerActivity, profile

from atelier_contract.architectures import Architecture
from atelier_contract.dataset import ModelType

STATUS = Path("/proc/self/status")
PEAK = "VmHWM:"
"""The line with the most memory that the process itself ever held, in KiB (proc(5)); unlike getrusage's figure it does
not begin with the parent's."""


@dataclass(frozen=True)
class Captioned:
    """One picture of the benchmark's data."""

    path: Path
    sha256: str
    caption: str


@dataclass(frozen=True)
class Task:
    """What both sides train: the same model, data, batch, rank and rate."""

    kind: ModelType
    base_model: Path
    architecture: Architecture
    pictures: tuple[Captioned, ...]
    resolution_px: int
    batch_size: int
    rank: int
    learning_rate: float
    placeholder: str
    initial_word: str
    vectors: int
    threads: int
    warm_steps: int
    """Steps before the first measured one: at least an epoch, so that whatever is encoded lazily is encoded."""
    seed: int
    scratch: Path
    """An empty folder of this side's own."""
    compile_mode: str | None = "eager"
    """Of our side; None: what the trainer itself chooses. The peers' steps are never compiled."""


@dataclass(frozen=True)
class Ready:
    """A side has taken its warm steps."""

    seconds: float
    """From the start, everything included."""
    steps: int
    """The warm steps."""
    threads: int


@dataclass(frozen=True)
class Stretch:
    """A side has taken the steps it was told to."""

    seconds: float
    """Of all of them."""
    processor_seconds: float
    peak_mib: float
    """Most memory the process ever held, up to here."""


@dataclass(frozen=True)
class Counted:
    """A side has taken one step, and these were its operations."""

    operations: dict[str, int]


@dataclass(frozen=True)
class Profiled:
    """A side has taken one step, and so often its host called the device's driver to start work."""

    launches: int


@dataclass(frozen=True)
class Finished:
    """A side is done."""

    steps: int
    file: Path
    """What it learned, as its own tool writes it."""
    trained_parameters: int
    roof_images_per_second: float | None = None
    """What a device could do that only multiplied matrices; None: the side does not tell."""


What = Literal["run", "count", "profile", "finish"]
Command = tuple[What, int]
"""What to do, for how many steps."""
LAUNCHES = ("LaunchKernel", "GraphLaunch", "MemcpyAsync", "MemsetAsync")
"""Parts of the CUDA runtime's and driver's names of calls that start something on the device."""


@dataclass
class Pace:
    """Lets a side train as many steps as it is told to."""

    connection: Connection
    warm_steps: int
    steps: int = field(default=-1, init=False)
    """Steps done; -1: not even begun."""
    finished: bool = field(default=False, init=False)
    """Whether the side is to end instead of taking another step."""

    def __post_init__(self) -> None:
        """Start the clock of the start-up."""
        self._until = self.warm_steps
        self._since, self._processor_since = time.perf_counter(), time.process_time()
        self._counter: OperationCounter | None = None
        self._profiler: profile | None = None

    def pass_step(self) -> None:
        """Go on at once where more steps are due; else tell what was measured and wait for the next command."""
        self.steps += 1
        if self.steps < self._until:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._answer()
        self._obey(self.connection.recv())

    def _answer(self) -> None:
        seconds = time.perf_counter() - self._since
        if self.steps == self.warm_steps:
            self.connection.send(Ready(seconds, self.steps, torch.get_num_threads()))
        elif self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.connection.send(Counted(dict(self._counter.counts)))
            self._counter = None
        elif self._profiler is not None:
            self._profiler.stop()
            self.connection.send(Profiled(count_launches(self._profiler)))
            self._profiler = None
        else:
            self.connection.send(Stretch(seconds, time.process_time() - self._processor_since, read_peak_mib()))

    def _obey(self, command: Command) -> None:
        what, steps = command
        self.finished = what == "finish"
        self._until = self.steps + steps
        if what == "count":
            self._counter = OperationCounter()
            self._counter.__enter__()
        if what == "profile":
            self._profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
            self._profiler.start()
        self._since, self._processor_since = time.perf_counter(), time.process_time()


def count_launches(profiler: profile) -> int:
    """Return how often the host started work on the device."""
    names = [event.key for event in profiler.key_averages() for _ in range(event.count)]
    return sum(name.startswith("cu") and any(launch in name for launch in LAUNCHES) for name in names)


def read_peak_mib() -> float:
    """Return the most memory this process ever held."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(PEAK))
    return int(line.split()[1]) / 1024
