"""What is done once everything is fetched: learn, and make it durable. In one process, or in each of several.

The only room of the subcommands that loads torch, and only when it is called.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from atelier_contract.exit_codes import ExitCode
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import OutcomeManifest
from atelier_contract.progress import CheckpointRow
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport, TrainResult
from atelier_trainer.commands.ending import Ending, shorten
from atelier_trainer.edges.cache import StoreCache
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.recorder import StoreRecorder
from atelier_trainer.records import Clock, Control, Reporter, Workspace

if TYPE_CHECKING:
    from atelier_trainer.learn.train import Outcome


class CheckpointReporter(Reporter, Protocol):
    """A reporter that is also told which checkpoints are whole in the store."""

    def add_checkpoint(self, row: CheckpointRow) -> None:
        """Tell of a checkpoint that is whole in the store."""


@dataclass(frozen=True)
class Attempt:
    """Where an attempt's results go."""

    home: Home
    run: RunLayout
    id: str

    def train(
        self, workspace: Workspace, reporter: CheckpointReporter, control: Control, clock: Clock = time.monotonic
    ) -> Ending:
        """Train, alone or as the leader of several processes, and store what is made.

        Returns:
            the ending, without the checkpoints' rows.

        Raises:
            AtelierError: as `learn.train.train` says, or the store failed.
        """
        from atelier_trainer.learn.train import train as learn  # noqa: PLC0415 - torch takes seconds and gigabytes

        with (
            StoreRecorder(self.home, self.run, self.id, reporter.add_checkpoint) as recorder,
            open_cache(self.home, workspace) as cache,
        ):
            outcome = learn(replace(workspace, cache=cache), recorder, reporter, control, clock)
            if outcome.complete:
                recorder.record_outcome(OutcomeManifest(stopped_early=outcome.stopped_early, last_step=outcome.to_step))
            else:
                recorder.flush()
        return end_as(self.id, outcome)


def learn_silently(
    home: Home, workspace: Workspace, attempt: str, control: Control, clock: Clock = time.monotonic
) -> Ending:
    """Train as a process that does not lead: it reads the store, computes its rows and leaves no trace.

    Raises:
        AtelierError: as `learn.train.train` says.
    """
    from atelier_trainer.learn.following import SilentRecorder, SilentReporter  # noqa: PLC0415 - as below
    from atelier_trainer.learn.train import train as learn  # noqa: PLC0415 - torch takes seconds and gigabytes

    with open_cache(home, workspace) as cache:
        outcome = learn(replace(workspace, cache=cache), SilentRecorder(), SilentReporter(), control, clock)
    return end_as(attempt, outcome)


def open_cache(home: Home, workspace: Workspace) -> StoreCache:
    """Return the cache of the workspace's dataset, as this process may use it: rank 0 alone writes."""
    place, asked = workspace.place, workspace.input
    return StoreCache(
        home,
        asked.dataset.name,
        asked.run_identity,
        workspace.scratch / "cache",
        is_writer=place.index == 0,
        capacity_bytes=workspace.scratch_bytes,
        sharers=place.pod_count,
    )


def end_as(attempt: str, outcome: Outcome) -> Ending:
    """Return the ending of a process that left in order."""
    result = TrainResult(
        attempt=attempt,
        from_step=outcome.from_step,
        to_step=outcome.to_step,
        complete=outcome.complete,
        stopped_early=outcome.stopped_early,
        exact=outcome.exact,
    )
    if not result.complete:
        code, reason = ExitCode.INTERRUPTED, Reason.INTERRUPTED
    else:
        code, reason = ExitCode.DONE, Reason.STOPPED_EARLY if result.stopped_early else Reason.TRAINING_COMPLETE
    report = TerminationReport(role=Role.TRAIN, reason=reason, message=shorten(outcome.quality), train=result)
    return Ending(code, report)
