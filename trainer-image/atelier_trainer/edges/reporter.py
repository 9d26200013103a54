"""The current state of a run for whoever asks: one report, replaced as training goes on, with times and checkpoints.

`learn/` tells steps and losses. What only this side knows is added here: how long each phase took, and which
checkpoints are whole in the store by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from atelier_contract.progress import CheckpointRow, Phase, ProgressReport

MAX_ROWS = 64
"""`ProgressReport.checkpoints`."""


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

    def report(self, progress: ProgressReport) -> None:
        """Replace the current report."""
        with self._lock:
            self._report = progress
            self._enter(progress.phase)

    def phase(self, phase: Phase) -> None:
        """Say that another phase begins."""
        with self._lock:
            self._enter(phase)

    def add_checkpoint(self, row: CheckpointRow) -> None:
        """Tell of a checkpoint that is whole in the store. The first of a step stays."""
        with self._lock:
            self._rows.setdefault(row.step, row)

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
        self._phase, self._phase_begun = phase, now
