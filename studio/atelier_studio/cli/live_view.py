"""A job in place on a terminal: phase, bar, step, losses as curves, time left, checkpoints, what to do next.

In come looks at the job; a thread of rich's draws four times a second, so that the time left runs between two looks.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from atelier_contract.training_job_status import ProgressStatus, TrainingJobStatus
from atelier_studio.actions import describing, tables, watching
from atelier_studio.actions.documents import Object
from atelier_studio.actions.watching import Course, draw_curve
from atelier_studio.cli.output import STYLES

CURVE_WIDTH = 48
SHOWN_CHECKPOINTS = 8


class LiveView:
    """What is drawn while a job is followed. Use it as a context manager.

    Args:
        console: where to draw; default: the terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._course = Course()
        self._body: Object | None = None
        self._status = TrainingJobStatus()
        self._seen_at = 0.0
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, body: Object, status: TrainingJobStatus) -> None:
        """Take a look at the job; it is drawn at the next turn."""
        self._course = self._course.add(status)
        self._body, self._status, self._seen_at = body, status, time.monotonic()

    def _draw(self) -> RenderableType:
        if self._body is None:
            return self._spinner
        return draw_job(self._body, self._status, self._course, time.monotonic() - self._seen_at, self._spinner)


def draw_job(
    body: Object, status: TrainingJobStatus, course: Course, age_seconds: float, spinner: RenderableType
) -> RenderableType:
    """Return the drawing of a job.

    Args:
        body: the TrainingJob.
        status: its status.
        course: the losses seen so far.
        age_seconds: how old this look is: the time left runs on.
        spinner: what moves while the job does.
    """
    job, spec = body["metadata"]["name"], tables.read_spec(body)
    state, message = tables.read_state(status)
    over = watching.is_at_rest(body, status)
    title = Table.grid(padding=(0, 1))
    title.add_row("" if over else spinner, Text(job, style="bold"), Text(state, style=STYLES.get(state, "")))
    parts: list[RenderableType] = [title, Text(f"  {describing.describe_purpose(spec)}", style="dim")]
    if message and not over:
        parts.append(Text(f"  {message}"))
    progress = tables.read_progress(status)
    if progress:
        parts.append(_draw_bar(progress, None if over else age_seconds))
    if len(course.losses) > 1:
        losses = [loss for _, loss in course.losses]
        parts.append(_draw_losses("loss", losses, f"{losses[0]:.4f} to {losses[-1]:.4f}"))
    held_out = watching.list_held_out(status)
    if held_out:
        best = min(held_out, key=lambda row: row[1])
        told = f"lowest {best[1]:.4f} at step {best[0]}, last {held_out[-1][1]:.4f}"
        parts.append(_draw_losses("held out", [loss for _, loss in held_out], told))
    if status.checkpoints:
        rows = status.checkpoints
        shown = "  ".join(str(row.step) + ("*" if row.best else "") for row in rows[-SHOWN_CHECKPOINTS:])
        earlier = "... " if len(rows) > SHOWN_CHECKPOINTS else ""
        parts.append(Text(f"  {watching.count(len(rows), 'checkpoint')}: {earlier}{shown}"))
    if not over:
        parts.append(Text(f"  next: {describing.name_next_step(job, status)}", style="dim"))
    return Group(*parts)


def _draw_bar(progress: ProgressStatus, age_seconds: float | None) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    left = progress.remaining_seconds
    told = [f"step {progress.step} of {progress.total_steps}", f"{progress.percent} %"]
    told += [f"loss {progress.loss}"] if progress.loss else []
    told += [f"{progress.images_per_second} pictures/s"] if watching.read_decimal(progress.images_per_second) else []
    if left is not None and age_seconds is not None:
        told.append(f"{tables.format_duration(max(0, round(left - age_seconds)))} left")
    bar = ProgressBar(total=progress.total_steps, completed=progress.step, width=30)
    line.add_row(" ", bar, Text("  ".join(told)))
    return line


def _draw_losses(name: str, losses: list[float], told: str) -> RenderableType:
    line = Text(f"  {name:<9}")
    line.append(draw_curve(losses, CURVE_WIDTH), style="cyan")
    return line.append(f"  {told}")
