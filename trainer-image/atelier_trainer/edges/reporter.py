"""The current state of a run for whoever asks: one report, replaced as training goes on, with times and checkpoints.

`learn/` tells steps and losses. What only this side knows is added here: how long each phase took, and which
checkpoints are whole in the store by now. The log gets the same in a line a minute, for whoever reads nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from atelier_contract.progress import CheckpointRow, Phase, ProgressReport

MAX_ROWS = 64
"""`ProgressReport.checkpoints`."""
LINE_SECONDS = 60.0
"""Between two lines of the log while it trains: an hour is sixty of them."""
log = logging.getLogger(__name__)


class LiveReporter:
    """`records.Reporter` that any thread may ask."""

    def __init__(self, first: ProgressReport, clock: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._report = first
        self._phase: Phase = first.phase
        self._phase_begun = clock()
        self._phase_seconds: dict[str, float] = {}
        self._rows: dict[int, CheckpointRow] = {}
        self._said: float | None = None
        self._warned: set[str] = set()

    def report(self, progress: ProgressReport) -> None:
        """Replace the current report."""
        with self._lock:
            self._report = progress
            self._enter(progress.phase)
            self._say()

    def phase(self, phase: Phase) -> None:
        """Say that another phase begins."""
        with self._lock:
            self._enter(phase)

    def add_checkpoint(self, row: CheckpointRow) -> None:
        """Tell of a checkpoint that is whole in the store. The first of a step stays."""
        with self._lock:
            if self._rows.setdefault(row.step, row) is row:
                log.info("the checkpoint of step %d is in the store", row.step)

    def rows(self) -> list[CheckpointRow]:
        """Return the checkpoints that are whole in the store, by step."""
        with self._lock:
            return [self._rows[step] for step in sorted(self._rows)]

    def current(self) -> ProgressReport:
        """Return the report as of now."""
        rows = self.rows()
        with self._lock:
            spent = dict(self._phase_seconds)
            spent[self._phase] = spent.get(self._phase, 0.0) + self._clock() - self._phase_begun
            return self._report.model_copy(
                update={
                    "phase": self._phase,
                    "phase_seconds": {phase: round(seconds, 1) for phase, seconds in spent.items()},
                    "checkpoints": rows[-MAX_ROWS:],
                }
            )

    def _enter(self, phase: Phase) -> None:
        if phase == self._phase:
            return
        now = self._clock()
        self._phase_seconds[self._phase] = self._phase_seconds.get(self._phase, 0.0) + now - self._phase_begun
        if phase not in self._phase_seconds:  # training and checkpoints take turns, and need no line each time
            log.info("%s begins", phase)
        self._phase, self._phase_begun = phase, now

    def _say(self) -> None:
        """Log new warnings, and while it trains now and then how far it is."""
        for warning in self._report.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("%s", warning)
        now, told = self._clock(), self._report
        if told.loss is None or (self._said is not None and now - self._said < LINE_SECONDS):
            return
        self._said = now
        left = "" if told.remaining_seconds is None else f", about {max(1, told.remaining_seconds // 60)} min left"
        speed = "" if told.images_per_second is None else f", {told.images_per_second:.3g} pictures a second"
        log.info("step %d of %d, loss %.4f%s%s", told.step, told.total_steps, told.loss, speed, left)
