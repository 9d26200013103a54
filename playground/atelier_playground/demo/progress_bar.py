"""The bar of a run: live on a terminal; in a pipe or a file a line for each phase and each tenth of the way.

In comes the progress that status reports; out goes what a person reads. It knows nothing of where status comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from atelier_contract.training_job_status import ProgressStatus

_WIDTH = 40
_MARKS = 10


class ProgressBar:
    """Show progress; open it as a context.

    Args:
        console: where it is shown.
        say: prints a line where there is no terminal to draw on.
    """

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self._is_live = console.is_terminal
        self._say = say
        self._mark: tuple[str, int] | None = None
        self._bar = Progress(
            TextColumn("  {task.description:<13}"),
            BarColumn(_WIDTH),
            TextColumn("{task.completed:.0f}/{task.total} steps"),
            TextColumn("{task.fields[words]}"),
            console=console,
            disable=not self._is_live,
        )
        self._task = self._bar.add_task("", total=None, visible=False, words="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: ProgressStatus) -> None:
        """Show where the run is; without a terminal only what has moved enough since the last line."""
        words = _describe(progress)
        if self._is_live:
            self._bar.update(
                self._task,
                description=progress.phase,
                completed=progress.step,
                total=progress.total_steps,
                visible=True,
                words=words,
            )
            return
        mark = (progress.phase, progress.step * _MARKS // max(1, progress.total_steps))
        if mark != self._mark:
            self._mark = mark
            done = min(_WIDTH, progress.step * _WIDTH // max(1, progress.total_steps))
            bar = "#" * done + "-" * (_WIDTH - done)
            self._say(f"{progress.phase:<13} {bar} {progress.step}/{progress.total_steps} steps  {words}".rstrip())


def _describe(progress: ProgressStatus) -> str:
    """Return loss and time left, as far as they are known."""
    loss = f"loss {progress.loss}" if progress.loss else ""
    left = "" if progress.remaining_seconds is None else f"{progress.remaining_seconds} s left"
    return "  ".join(word for word in (loss, left) if word)
