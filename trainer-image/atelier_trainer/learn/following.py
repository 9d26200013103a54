"""What a rank that does not lead has in place of those who write: it computes as the leader does and leaves no trace.

Whatever rank 0 does between two steps (a state, a checkpoint with its samples, a look at the held-out pictures), the
others are at the next agreement meanwhile, and wait there.
"""

from __future__ import annotations

from pathlib import Path

from atelier_contract.manifests import CheckpointManifest, ExecutionManifest, RunManifest, StateManifest
from atelier_contract.progress import Phase, ProgressReport


class SilentRecorder:
    """`records.Recorder` of a rank that does not lead."""

    def record_run(self, run: RunManifest) -> None:
        """Leave it to the leader."""

    def record_execution(self, execution: ExecutionManifest) -> None:
        """Leave it to the leader."""

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Leave it to the leader."""

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        """Leave it to the leader."""

    def flush(self) -> None:
        """Nothing waits."""


class SilentReporter:
    """`records.Reporter` of a rank that does not lead."""

    def report(self, progress: ProgressReport) -> None:
        """Leave it to the leader."""

    def phase(self, phase: Phase) -> None:
        """Leave it to the leader."""


class IdleKeeper:
    """`loop.Keeps` of a rank that does not lead."""

    def keep_due(self, step: int) -> None:
        """Leave it to the leader."""

    def keep_state(self, step: int) -> None:
        """Leave it to the leader."""

    def keep_checkpoint(self, step: int) -> None:
        """Leave it to the leader."""
