"""How a transfer looks while it goes: a bar with rate and time left on a terminal, a line now and then in a log.

All of it goes to standard error, so that what is piped stays what was asked for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from atelier_studio.actions.tables import format_duration, format_size
from atelier_studio.cli.output import say_aside

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 10.0
"""Between two lines in a log."""


class TransferMeter:
    """Shows how many bytes have gone, how fast, and how long the rest will take. Use it as a context manager.

    Bytes that need not go shorten the way instead of making it look fast.

    Args:
        doing: what is done, for the line. Example: pushing teapots.
        files: how many there are.
        size: of all of them, in bytes.
        clock: in seconds, for tests.
    """

    def __init__(self, doing: str, files: int, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing, self._files, self._left = doing, files, size
        self._clock = clock
        self._lock = threading.Lock()
        self.moved = self.skipped = self.finished = 0
        self._begun_at = self._told_at = clock()
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _open_bar(self._doing, self._left)
            self._bar[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()
        if isinstance(error, KeyboardInterrupt):
            say_aside(f"{self._doing} was broken off: what was sent stays, and the same command goes on from there")

    def move(self, count: int) -> None:
        """Count bytes that went out; a negative number takes back what must go again."""
        with self._lock:
            self.moved += count
            self._left -= count
            self._tell()

    def skip(self, count: int) -> None:
        """Count bytes that need not go, because they are in the store already."""
        with self._lock:
            self.skipped += count
            self._left -= count
            self._tell()

    def finish_file(self) -> None:
        """Count a file that is in the store."""
        with self._lock:
            self.finished += 1
            self._tell()

    def summary(self) -> str:
        """Return what went, how fast, and what was there already."""
        seconds = max(self._clock() - self._begun_at, 1e-3)
        rate = f" in {format_duration(round(seconds))} ({format_size(round(self.moved / seconds))}/s)"
        there = f"; {format_size(self.skipped)} were there already" if self.skipped >= 1000 else ""
        return f"sent {format_size(self.moved)}{rate if self.moved else ''}{there}"

    def _tell(self) -> None:
        if self._bar is not None:
            progress, task = self._bar
            total = self.moved + self._left
            words = f"{self._doing}, {self.finished} of {self._files} files"
            progress.update(task, completed=self.moved, total=total, description=words)
        elif self._clock() - self._told_at >= LINE_SECONDS:
            self._told_at = self._clock()
            say_aside(self._build_line())

    def _build_line(self) -> str:
        rate = self.moved / max(self._clock() - self._begun_at, 1e-3)
        left = format_duration(round(self._left / rate)) if rate else "-"
        return (
            f"{self._doing}: {self.finished} of {self._files} files, sent {format_size(self.moved)}, "
            f"{format_size(round(rate))}/s, {left} left"
        )


def _open_bar(doing: str, size: int) -> tuple[Progress, TaskID]:
    from rich.console import Console  # noqa: PLC0415  (only a terminal has a bar)
    from rich.progress import (  # noqa: PLC0415  (as above)
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    return progress, progress.add_task(doing, total=size)
