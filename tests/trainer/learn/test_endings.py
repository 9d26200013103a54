"""How a run ends: complete, stopped, interrupted; and what it leaves each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from atelier_contract.manifests import CheckpointManifest
from atelier_trainer.errors import OutOfMemory
from atelier_trainer.learn import engine
from atelier_trainer.learn.checkpoints import CheckpointWriter
from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.keeping import STATE_SECONDS
from atelier_trainer.learn.memory import recompute_activations
from atelier_trainer.learn.stepping import Stepper
from atelier_trainer.learn.train import train
from learning import FolderRecorder, KeptReports, ScriptedControl, SteppedClock, build_settings, build_workspace
from learning_results import Finished, run


def test_a_whole_run_keeps_step_0_every_third_step_and_the_last(concept_run: Finished) -> None:
    """Checkpoints lie at 0, 3 and 6, states at 3 and 6, and everything is flushed."""
    assert sorted(concept_run.recorder.checkpoints) == [0, 3, 6]
    assert sorted(concept_run.recorder.states) == [3, 6]
    assert concept_run.recorder.is_flushed
    assert concept_run.outcome.complete
    assert not concept_run.outcome.stopped_early


def test_the_last_step_is_kept_between_cadences(tmp_path: Path) -> None:
    """Five steps with a checkpoint every three keep 3 and 5."""
    assert sorted(run(tmp_path / "a", steps=5).recorder.checkpoints) == [0, 3, 5]


def test_a_stop_keeps_the_step_it_came_at(tmp_path: Path) -> None:
    """Stopped after two steps the run is complete, early, with a whole checkpoint of step 2."""
    stopped = run(tmp_path / "a", control=ScriptedControl(stop_from=2))
    assert sorted(stopped.recorder.checkpoints) == [0, 2]
    assert (stopped.outcome.complete, stopped.outcome.stopped_early, stopped.outcome.to_step) == (True, True, 2)


def test_a_stop_before_any_step_keeps_nothing(tmp_path: Path) -> None:
    """Stopped before it began the run is complete, early and empty."""
    stopped = run(tmp_path / "a", control=ScriptedControl(stop_from=-1))
    assert stopped.recorder.checkpoints == {}
    assert (stopped.outcome.complete, stopped.outcome.stopped_early, stopped.outcome.to_step) == (True, True, 0)


@dataclass
class StopWithin:
    """Asks for a stop at the second look, which comes while pictures are encoded."""

    looks: int = 0

    def stop_asked(self) -> bool:
        self.looks += 1
        return self.looks > 1

    def interrupted(self) -> bool:
        return False


def test_a_stop_within_caching_ends_the_run_there(tmp_path: Path) -> None:
    """Stopped while pictures are encoded the run is complete and empty, and no batch was computed."""
    stopped = run(tmp_path / "a", control=StopWithin())
    assert stopped.recorder.checkpoints == {}
    assert (stopped.outcome.complete, stopped.outcome.stopped_early, stopped.outcome.to_step) == (True, True, 0)
    assert "Training" not in stopped.reports.phases


def test_an_interruption_keeps_the_state_alone(tmp_path: Path) -> None:
    """Interrupted after step 2 there is a state of step 2, flushed, and no checkpoint of it."""
    cut = run(tmp_path / "a", control=ScriptedControl(interrupt_from=2))
    assert sorted(cut.recorder.states) == [2]
    assert sorted(cut.recorder.checkpoints) == [0]
    assert cut.recorder.is_flushed
    assert (cut.outcome.complete, cut.outcome.interrupted) == (False, True)


def test_an_interruption_within_sampling_loses_no_step(tmp_path: Path) -> None:
    """Interrupted while step 3 is sampled its state is kept, and the next attempt makes the checkpoint first."""
    cut = run(tmp_path / "a", control=ScriptedControl(interrupt_from=3))
    assert sorted(cut.recorder.states) == [3]
    assert sorted(cut.recorder.checkpoints) == [0]
    again = build_workspace(tmp_path / "b", cut.settings)
    resumed = run(tmp_path, workspace=cut.recorder.resume(again), recorder=cut.recorder)
    assert list(resumed.recorder.checkpoints) == [0, 3, 6]


def test_a_checkpoint_in_the_store_is_not_made_again(concept_run: Finished, tmp_path: Path) -> None:
    """An attempt that goes back to the state of step 3 keeps the checkpoints 3 and 6 that are there already."""
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", concept_run.settings), state=3)
    recorder = FolderRecorder(run=concept_run.recorder.run, execution=concept_run.recorder.execution)
    resumed = run(tmp_path, workspace=again, recorder=recorder)
    assert recorder.checkpoints == {}
    assert resumed.outcome.complete


def test_a_state_is_written_every_five_minutes(tmp_path: Path) -> None:
    """Where checkpoints are far apart the clock asks for states: here a look at it takes 100 seconds."""
    settings = build_settings(everySteps=6)
    workspace, recorder = build_workspace(tmp_path / "a", settings), FolderRecorder()
    train(workspace, recorder, KeptReports(), ScriptedControl(), SteppedClock(STATE_SECONDS / 3))
    assert set(recorder.states) > {6}


def test_the_execution_is_recorded_before_the_first_state(tmp_path: Path) -> None:
    """A run that left no state left no execution.json either, one that left a state did."""
    early = run(tmp_path / "a", control=ScriptedControl(interrupt_from=0))
    assert (early.recorder.states, early.recorder.execution) == ({}, None)
    later = run(tmp_path / "b", control=ScriptedControl(interrupt_from=1))
    assert later.recorder.execution is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [({"capability": "sm_90"}, "capability"), ({"versions": {"torch": "1.0"}}, "versions")],
)
def test_what_cannot_be_repeated_is_said(
    concept_run: Finished, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    """On another processor or other libraries the attempt goes on, inexact, and names the difference."""
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", concept_run.settings), state=3)
    assert again.execution is not None
    changed = build_workspace(
        tmp_path / "c",
        concept_run.settings,
        run=again.run,
        state=again.state,
        checkpoints=again.checkpoints,
        execution=again.execution.model_copy(update=change),
    )
    resumed = run(tmp_path, workspace=changed, recorder=FolderRecorder(run=again.run, execution=again.execution))
    assert not resumed.outcome.exact
    assert not resumed.reports.reports[-1].exact
    assert any(named in sentence for sentence in resumed.reports.reports[-1].warnings)


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trying find that one picture fits only if its activations are recomputed."""

    def fit(stepper: Stepper, *_: object, is_said: bool) -> None:
        recompute_activations(stepper.gradients.family.denoiser)
        stepper.recomputes = True

    monkeypatch.setattr(engine, "fit_to_device", fit)


@pytest.mark.usefixtures("scarce")
def test_a_said_micro_batch_is_tried_too(tmp_path: Path) -> None:
    """With `microBatchSize` given, a run that has to recompute its activations does, and records both."""
    execution = run(tmp_path / "a", microBatchSize=1, steps=1).recorder.execution
    assert execution is not None
    assert (execution.micro_batch, execution.recomputes) == (1, True)


@pytest.mark.usefixtures("scarce")
def test_a_later_attempt_that_has_to_recompute_is_inexact(concept_run: Finished, tmp_path: Path) -> None:
    """On a smaller device than the first attempt's it goes on, inexact, and says why."""
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", concept_run.settings), state=3)
    recorder = FolderRecorder(run=concept_run.recorder.run, execution=concept_run.recorder.execution)
    resumed = run(tmp_path, workspace=again, recorder=recorder)
    assert not resumed.outcome.exact
    assert any("computed twice" in sentence for sentence in resumed.reports.reports[-1].warnings)


def test_a_checkpoint_without_memory_is_made_without_captured_steps(
    concept_run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where samples do not fit beside captured steps these give way, and the checkpoint is the same to the byte."""
    held, write = [True], CheckpointWriter.write

    def write_if_it_fits(writer: CheckpointWriter, folder: Path, step: int, pause: Pause) -> CheckpointManifest:
        manifest = write(writer, folder, step, pause)
        if step == 3 and held[0]:
            raise torch.OutOfMemoryError("as CUDA says it")
        return manifest

    def release(_stepper: Stepper) -> bool:
        was_held, held[0] = held[0], False
        return was_held

    monkeypatch.setattr(CheckpointWriter, "write", write_if_it_fits)
    monkeypatch.setattr(Stepper, "release", release)
    (_, made), (_, other) = (one.recorder.checkpoints[3] for one in (run(tmp_path / "a"), concept_run))
    assert made == other  # its digests too
    assert not held[0]


def test_a_checkpoint_that_never_fits_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing gives way the shortage is told, and nothing is tried for ever."""

    def write(*_: object) -> CheckpointManifest:
        raise torch.OutOfMemoryError("as CUDA says it")

    monkeypatch.setattr(CheckpointWriter, "write", write)
    with pytest.raises(OutOfMemory):
        run(tmp_path / "a")
