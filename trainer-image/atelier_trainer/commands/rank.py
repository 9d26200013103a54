"""One of several processes that train one run, as `commands.crew` starts it.

In: what the pod has fetched, and where this process stands. Out, through a pipe: what the leader reports as it goes,
and at last how the process ended; its exit code says the same.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from atelier_contract.inputs import TrainingInput
from atelier_contract.progress import CheckpointRow, Phase, ProgressReport
from atelier_contract.roles import Role
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.attempt import Attempt, learn_silently
from atelier_trainer.commands.ending import Ending, end_in_any_case
from atelier_trainer.edges.control import PodControl
from atelier_trainer.edges.home import open_home
from atelier_trainer.records import Place, Workspace
from atelier_trainer.settings import TrainerSettings

Said = ProgressReport | CheckpointRow | Phase | Ending
"""A message through the pipe: a report, a checkpoint that is whole, a phase, or the end."""


@dataclass(frozen=True)
class PipeReporter:
    """`records.Reporter` of the leader: passes everything on to the process that serves it."""

    pipe: Connection
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, progress: ProgressReport) -> None:
        """Pass a report on."""
        self.say(progress)

    def phase(self, phase: Phase) -> None:
        """Pass on that another phase begins."""
        self.say(phase)

    def add_checkpoint(self, row: CheckpointRow) -> None:
        """Pass on that a checkpoint is whole in the store. Called by the recorder's thread."""
        self.say(row)

    def say(self, what: Said) -> None:
        """Send a message. Where nobody listens any more, this process is about to notice and to leave."""
        with self._lock, suppress(OSError):
            self.pipe.send(what)


@dataclass(frozen=True)
class Orders:
    """What every process of a pod is given."""

    settings: TrainerSettings
    asked: TrainingInput
    workspace: Workspace


def run_rank(place: Place, pipe: Connection, orders: Orders) -> None:
    """Train as one of several processes; never returns."""
    form = f"%(asctime)s %(levelname)s rank {place.index} %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    reporter = PipeReporter(pipe)
    control = PodControl(orders.settings.input_dir, parent=os.getppid())
    with control.listening():  # until it has ended: only a process that never trained is ended by SIGTERM itself
        ending = end_in_any_case(Role.TRAIN, lambda: _train(place, orders, reporter, control))
        reporter.say(ending)
        pipe.close()
        logging.shutdown()
        # Not by returning: with a peer gone, what torch does at the interpreter's end may wait for it.
        os._exit(int(ending.exit_code))


def _train(place: Place, orders: Orders, reporter: PipeReporter, control: PodControl) -> Ending:
    settings, asked = orders.settings, orders.asked
    shared = orders.workspace.scratch
    workspace = replace(orders.workspace, place=place, scratch=_make_scratch(shared, place), pod_scratch=shared)
    home = open_home(settings, asked.store, Patience())
    if place.index > 0:
        return learn_silently(home, workspace, settings.attempt, control)
    run = home.layout.run(asked.job, asked.run_identity)
    return Attempt(home, run, settings.attempt).train(workspace, reporter, control)


def _make_scratch(folder: Path, place: Place) -> Path:
    own = folder / f"rank-{place.index}"
    own.mkdir(parents=True)
    return own
