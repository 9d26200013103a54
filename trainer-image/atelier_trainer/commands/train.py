"""`train`: fetch, train, and make every checkpoint durable; the only subcommand that loads torch.

In: a TrainingInput, control.json, SIGTERM. Out: checkpoints and states of this attempt, outcome.json once the run is
over, and last words with a row for each whole checkpoint, however the attempt ended.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import TrainingInput
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import OutcomeManifest, RunManifest
from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport, TrainResult, compact_row
from atelier_trainer.commands.ending import Ending, shorten
from atelier_trainer.commands.preflight import check_settings
from atelier_trainer.commands.workspace import Fetcher
from atelier_trainer.edges.control import PodControl
from atelier_trainer.edges.documents import find_document
from atelier_trainer.edges.home import open_home
from atelier_trainer.edges.patience import Patience
from atelier_trainer.edges.progress_server import serve_progress
from atelier_trainer.edges.recorder import StoreRecorder
from atelier_trainer.edges.reporter import LiveReporter
from atelier_trainer.edges.runs import first_of_each_step, list_checkpoints, to_row
from atelier_trainer.errors import TrainerError
from atelier_trainer.records import Clock
from atelier_trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from atelier_trainer.learn.train import Outcome


def train(settings: TrainerSettings, asked: TrainingInput, patience: Patience, clock: Clock = time.monotonic) -> Ending:
    """Train from the last state, or from the start.

    Raises:
        TrainerError: before anything was known of the run. Later errors become endings with rows.
    """
    control = PodControl(settings.input_dir)
    check_settings(asked)
    reporter = LiveReporter(_first_report(settings, asked), clock)
    with ExitStack() as stack:
        stack.enter_context(control.listening())
        if settings.pod_ip:
            stack.enter_context(serve_progress(settings.pod_ip, reporter.current))
        home = open_home(settings, asked.store, patience)
        run = home.layout.run(asked.job, asked.run_identity)
        for checkpoint in first_of_each_step(list_checkpoints(home, run)).values():
            reporter.add_checkpoint(to_row(checkpoint.manifest))
        before = find_document(home.store, run.outcome, OutcomeManifest)
        # Without run.json the outcome is a leftover of a run whose deletion was cut short.
        if before is not None and find_document(home.store, run.manifest, RunManifest) is not None:
            return _end(reporter, _as_result(settings, before), Reason.TRAINING_COMPLETE)
        fetcher = Fetcher(settings, home, asked, patience, control.interrupted)
        try:
            outcome = _fetch_and_learn(fetcher, run, reporter, control, clock)
        except TrainerError as error:
            return _end_with_rows(settings, reporter, error)
    reporter.phase("Finished")
    return _end_as(settings, reporter, outcome)


def _fetch_and_learn(
    fetcher: Fetcher, run: RunLayout, reporter: LiveReporter, control: PodControl, clock: Clock
) -> Outcome:
    reporter.phase("Fetching")
    workspace = fetcher.fetch_workspace(run)
    from atelier_trainer.learn.train import train as learn  # noqa: PLC0415 - torch takes seconds and gigabytes

    with StoreRecorder(fetcher.home, run, fetcher.settings.attempt, reporter.add_checkpoint) as recorder:
        outcome = learn(workspace, recorder, reporter, control, clock)
        if outcome.complete:
            recorder.record_outcome(OutcomeManifest(stopped_early=outcome.stopped_early, last_step=outcome.to_step))
        else:
            recorder.flush()
    return outcome


def _first_report(settings: TrainerSettings, asked: TrainingInput) -> ProgressReport:
    return ProgressReport(
        run_identity=asked.run_identity,
        attempt=settings.attempt,
        phase="Starting",
        step=0,
        total_steps=asked.settings.steps,
    )


def _as_result(settings: TrainerSettings, outcome: OutcomeManifest) -> TrainResult:
    """Return the result of an attempt that found the run over."""
    last = outcome.last_step
    return TrainResult(
        attempt=settings.attempt,
        from_step=last,
        to_step=last,
        complete=True,
        stopped_early=outcome.stopped_early,
    )


def _end_as(settings: TrainerSettings, reporter: LiveReporter, outcome: Outcome) -> Ending:
    result = TrainResult(
        attempt=settings.attempt,
        from_step=outcome.from_step,
        to_step=outcome.to_step,
        complete=outcome.complete,
        stopped_early=outcome.stopped_early,
        exact=outcome.exact,
    )
    if outcome.interrupted:
        reason = Reason.INTERRUPTED
    else:
        reason = Reason.STOPPED_EARLY if outcome.stopped_early else Reason.TRAINING_COMPLETE
    return _end(reporter, result, reason)


def _end_with_rows(settings: TrainerSettings, reporter: LiveReporter, error: TrainerError) -> Ending:
    told = reporter.current()
    result = TrainResult(attempt=settings.attempt, from_step=told.from_step, to_step=told.step, exact=told.exact)
    ending = _end(reporter, result, error.reason)
    report = ending.report.model_copy(update={"message": shorten(str(error))})
    return Ending(error.exit_code, report)


def _end(reporter: LiveReporter, result: TrainResult, reason: Reason) -> Ending:
    rows = [compact_row(row) for row in reporter.rows()]
    code = ExitCode.INTERRUPTED if reason is Reason.INTERRUPTED else ExitCode.DONE
    return Ending(code, TerminationReport(role=Role.TRAIN, reason=reason, rows=rows, train=result))
