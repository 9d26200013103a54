"""A resumed run ends where the uninterrupted one would have, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.records import LocalState
from learning import ScriptedControl, build_workspace
from learning_results import Finished, run


@pytest.fixture(params=["concept_run", "random_run", "embedding_run"])
def whole(request: pytest.FixtureRequest) -> Finished:
    """An uninterrupted run of 6 steps with states and checkpoints at 3 and 6."""
    finished: Finished = request.getfixturevalue(request.param)
    return finished


def assert_equal_ends(one: Finished, other: Finished) -> None:
    """Assert that two runs ended with equal weights and equal files."""
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    last = one.settings.steps
    assert one.recorder.model(last).read_bytes() == other.recorder.model(last).read_bytes()


def test_training_changes_the_weights(whole: Finished) -> None:
    """Between steps 3 and 6 every trained tensor moved: equality below would otherwise be worth nothing."""
    early, late = whole.weights(3), whole.weights(6)
    assert all(not torch.equal(early[name], late[name]) for name in early)


def test_a_repeated_run_is_the_same(whole: Finished, tmp_path: Path) -> None:
    """The same input trains the same weights, sample pictures and manifests."""
    again = run(tmp_path / "b", workspace=build_workspace(tmp_path / "b", whole.settings))
    assert_equal_ends(whole, again)
    assert [m for _, m in whole.recorder.checkpoints.values()] == [m for _, m in again.recorder.checkpoints.values()]


def test_going_on_from_a_state_ends_the_same(whole: Finished, tmp_path: Path) -> None:
    """An attempt that is ended after step 4 and goes on from its state ends with the same bits."""
    control = ScriptedControl(interrupt_from=4)
    first = run(tmp_path / "one", workspace=build_workspace(tmp_path / "one", whole.settings), control=control)
    second = first.recorder.resume(build_workspace(tmp_path / "two", whole.settings))
    resumed = run(tmp_path, workspace=second, recorder=first.recorder)
    assert (first.outcome.to_step, resumed.outcome.from_step, resumed.outcome.exact) == (4, 4, True)
    assert_equal_ends(whole, resumed)


def test_the_cadence_of_checkpoints_changes_nothing(whole: Finished, tmp_path: Path) -> None:
    """Sampling and measuring after every step leaves the weights as they are."""
    settings = whole.settings.model_copy(update={"every_steps": 1})
    often = run(tmp_path / "often", workspace=build_workspace(tmp_path / "often", settings))
    assert sorted(often.recorder.checkpoints) == [0, 1, 2, 3, 4, 5, 6]
    assert_equal_ends(whole, often)


def test_a_shortage_after_the_record_is_not_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that runs short once execution.json is written makes the attempt inexact, and its later states tell so."""
    accumulate = GradientComputer._accumulate

    def run_short(computer: GradientComputer, batch: Batch, step: int, first: int) -> torch.Tensor:
        if step >= 3 and computer.micro_batch > 2:
            raise torch.OutOfMemoryError("as CUDA says it")
        return accumulate(computer, batch, step, first)

    monkeypatch.setattr(GradientComputer, "_accumulate", run_short)
    ended = run(tmp_path / "a")
    assert ended.recorder.execution is not None
    assert (ended.recorder.execution.micro_batch, ended.outcome.exact) == (4, False)
    assert [ended.recorder.states[step][1].exact for step in (3, 6)] == [True, False]
    assert (
        "not exact: memory suffices for 2 pictures at a time, fewer than at first" in ended.reports.reports[-1].warnings
    )


def test_what_was_inexact_stays_inexact(concept_run: Finished, tmp_path: Path) -> None:
    """An attempt that computes as the first did is not exact when the state it goes on from was not."""
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", concept_run.settings), state=6)
    assert again.state is not None
    state = LocalState(again.state.folder, again.state.manifest.model_copy(update={"exact": False}))
    resumed = run(tmp_path, workspace=replace(again, state=state), recorder=concept_run.recorder)
    assert (concept_run.outcome.exact, resumed.outcome.exact) == (True, False)
