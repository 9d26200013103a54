"""Training in several processes: this pod fetches once, starts one for each GPU, and speaks for all of them.

In: what was fetched. Out: one ending, the worst of what its processes ended with, and the leader's reports on the way.
The pods of a run each do so; the processes of all find one another, and rank 0 in the first pod leads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from atelier_contract import exit_codes
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import OutcomeManifest
from atelier_contract.progress import CheckpointRow, ProgressReport
from atelier_contract.roles import Role
from atelier_materials.store.documents import find_document
from atelier_trainer.commands.attempt import Attempt
from atelier_trainer.commands.ending import Ending, end_with
from atelier_trainer.commands.rank import Orders, Said, run_rank
from atelier_trainer.edges.control import PodControl
from atelier_trainer.edges.launch import Member, follow_members, launch_members
from atelier_trainer.edges.reporter import LiveReporter
from atelier_trainer.errors import PeerLost, PodTerminated, TrainerError
from atelier_trainer.records import Place, Workspace
from atelier_trainer.settings import TrainerSettings

OUTCOME_SECONDS = 1200.0
"""How long another pod waits until the leader's has stored the run's end: a store may be silent for ten minutes."""
OUTCOME_LOOK_SECONDS = 2.0
WORST_FIRST = (
    *exit_codes.FAILING,
    ExitCode.STORAGE_UNAVAILABLE,
    ExitCode.BUG,
    ExitCode.PEER_LOST,
    ExitCode.INTERRUPTED,
    ExitCode.DONE,
)
"""Whose ending is the pod's: what the user must mend, then what is counted, then what is not."""


@dataclass
class Crew:
    """The processes of this pod, and how each ended."""

    settings: TrainerSettings
    asked: TrainingInput
    reporter: LiveReporter
    control: PodControl
    endings: dict[int, Ending] = field(default_factory=dict)

    def train(self, workspace: Workspace, attempt: Attempt) -> Ending:
        """Train in several processes and return the pod's ending, without the checkpoints' rows."""
        crew = self.settings.crew
        orders = Orders(self.settings, self.asked, workspace)
        members = launch_members(crew, self.settings.scratch_dir, run_rank, orders)
        follow_members(members, self._listen, self.control.interrupted)
        ending = self._find_worst(members)
        if ending.exit_code is ExitCode.DONE and not crew.leads:
            wait_for_outcome(attempt, self.control.interrupted)
        return ending

    def _listen(self, place: Place, said: Said) -> None:
        match said:
            case Ending():
                self.endings[place.index] = said
            case ProgressReport():
                self.reporter.report(said)
            case CheckpointRow():
                self.reporter.add_checkpoint(said)
            case _:
                self.reporter.phase(said)

    def _find_worst(self, members: list[Member]) -> Ending:
        """Return the worst ending; the first rank's of equal ones."""
        endings = [self.endings.get(member.place.index) or _explain_silence(member) for member in members]
        return min(endings, key=lambda ending: WORST_FIRST.index(ending.exit_code))


def wait_for_outcome(
    attempt: Attempt,
    is_terminated: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Stay until the leader's pod has stored everything: a pod that was done is not started again with the leader's.

    Raises:
        PodTerminated: this pod has to go; it comes again.
        PeerLost: the leader's pod does not finish; all begin again.
    """
    until = clock() + OUTCOME_SECONDS
    while find_document(attempt.home.store, attempt.run.outcome, OutcomeManifest) is None:
        if is_terminated():
            raise PodTerminated("the pod was asked to end while the leader's stored the run's end")
        if clock() >= until:
            raise PeerLost("the leader's pod did not store the run's end: a new attempt goes on from the last state")
        pause(OUTCOME_LOOK_SECONDS)


def _explain_silence(member: Member) -> Ending:
    """Return the ending of a process that left no word."""
    if member.is_killed_late:
        return end_with(Role.TRAIN, PeerLost("a process waited for one that was gone, and was killed"))
    if member.is_told_to_leave:
        return end_with(Role.TRAIN, PodTerminated("the pod was asked to end before training began"))
    code, place = member.exit_code or 0, member.place
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return end_with(
        Role.TRAIN, TrainerError(f"process {place.index} of {place.count} was ended {how}: see the pod's log")
    )
