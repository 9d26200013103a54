"""`train`: fetch, train, and make every checkpoint durable; in this process, or in several that it starts.

In: a TrainingInput, control.json, SIGTERM. Out: checkpoints and states of this attempt, outcome.json once the run is
over, and last words with a row for each whole checkpoint, however the attempt ended.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import OutcomeManifest, RunManifest
from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport, TrainResult, compact_row
from atelier_materials.errors import AtelierError
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints, list_states
from atelier_materials.store.documents import find_document
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.attempt import Attempt
from atelier_trainer.commands.crew import Crew
from atelier_trainer.commands.ending import Ending, end_with
from atelier_trainer.commands.refusals import check_settings
from atelier_trainer.commands.workspace import Fetcher
from atelier_trainer.edges.control import PodControl
from atelier_trainer.edges.home import open_home
from atelier_trainer.edges.progress_server import serve_progress
from atelier_trainer.edges.recorder import delete_states
from atelier_trainer.edges.reporter import LiveReporter
from atelier_trainer.edges.runs import to_row
from atelier_trainer.records import Clock
from atelier_trainer.settings import TrainerSettings


def train(settings: TrainerSettings, asked: TrainingInput, patience: Patience, clock: Clock = time.monotonic) -> Ending:
    """Train from the last state, or from the start.

    Raises:
        AtelierError: before anything was known of the run. Later errors become endings with rows.
    """
    control = PodControl(settings.input_dir)
    check_settings(asked)
    reporter = LiveReporter(_first_report(settings, asked), clock)
    with ExitStack() as stack:
        stack.enter_context(control.listening())
        if settings.pod_ip and settings.crew.leads:
            stack.enter_context(serve_progress(settings.pod_ip, reporter.current))
        home = open_home(settings, asked.store, patience)
        run = home.layout.run(asked.job, asked.run_identity)
        for checkpoint in first_of_each_step(list_checkpoints(home.store, run)).values():
            reporter.add_checkpoint(to_row(checkpoint.manifest))
        before = find_document(home.store, run.outcome, OutcomeManifest)
        # Without run.json the outcome is a leftover of a run whose deletion was cut short.
        if before is not None and find_document(home.store, run.manifest, RunManifest) is not None:
            delete_states(home, run, list_states(home.store, run))  # the attempt that ended it was killed before
            return _add_rows(_end_as_before(settings, before), reporter)
        fetcher = Fetcher(settings, home, asked, patience, control.interrupted)
        try:
            reporter.phase("Fetching")
            workspace = fetcher.fetch_workspace(run)
            attempt = Attempt(home, run, settings.attempt)
            if settings.crew.is_alone:
                ending = attempt.train(workspace, reporter, control, clock)
            else:
                ending = Crew(settings, asked, reporter, control).train(workspace, attempt)
        except AtelierError as error:
            ending = end_with(Role.TRAIN, error)
    reporter.phase("Finished")
    return _add_rows(ending, reporter)


def _first_report(settings: TrainerSettings, asked: TrainingInput) -> ProgressReport:
    return ProgressReport(
        run_identity=asked.run_identity,
        attempt=settings.attempt,
        phase="Starting",
        step=0,
        total_steps=asked.settings.steps,
    )


def _end_as_before(settings: TrainerSettings, outcome: OutcomeManifest) -> Ending:
    """Return the ending of an attempt that found the run over."""
    last, stopped = outcome.last_step, outcome.stopped_early
    result = TrainResult(attempt=settings.attempt, from_step=last, to_step=last, complete=True, stopped_early=stopped)
    return Ending(ExitCode.DONE, TerminationReport(role=Role.TRAIN, reason=Reason.TRAINING_COMPLETE, train=result))


def _add_rows(ending: Ending, reporter: LiveReporter) -> Ending:
    """Return the ending with the checkpoints that are whole in the store, and how far the attempt came."""
    told = reporter.current()
    result = ending.report.train or TrainResult(
        attempt=told.attempt, from_step=told.from_step, to_step=told.step, exact=told.exact
    )
    rows = [compact_row(row) for row in reporter.rows()]
    return Ending(ending.exit_code, ending.report.model_copy(update={"rows": rows, "train": result}))
