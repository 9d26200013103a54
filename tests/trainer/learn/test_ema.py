"""The running mean: its closed form, that training does not see it, and that checkpoints hold it and states keep it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atelier_trainer.learn.ema import MEAN_PREFIX, RunningMean
from atelier_trainer.learn.parameters import FlatParameters
from learning import ScriptedControl, build_workspace
from learning_results import Finished, run

DECAY = 0.6


def a_flat(dtype: torch.dtype = torch.float32) -> FlatParameters:
    """Return two tensors that learn, with fixed values."""
    flat = FlatParameters({"a": (3,), "b": (2, 2)}, torch.device("cpu"), dtype)
    set_to(flat, 0)
    return flat


def set_to(flat: FlatParameters, step: int) -> None:
    """Move everything to the values of a step."""
    with torch.no_grad():
        flat.master.copy_(torch.randn(flat.master.shape, generator=torch.Generator().manual_seed(step)))
    flat.refresh()


def test_mean_follows_its_formula() -> None:
    """Its decay rises as (1 + t) / (10 + t) until it is the one that was asked for."""
    flat = a_flat()
    mean, expected = RunningMean([flat], DECAY), flat.master.detach().clone()
    for step in range(1, 31):
        set_to(flat, step)
        mean.update(step)
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * flat.master.detach()
    torch.testing.assert_close(mean.split()[f"{MEAN_PREFIX}0"], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    """Inside the block the model computes with the mean, also in its own format; after it with the weights again."""
    flat = a_flat(dtype)
    mean, first = RunningMean([flat], DECAY), flat.compute["a"].detach().clone()
    set_to(flat, 1)
    weights, copies = flat.master.detach().clone(), flat.compute["a"].detach().clone()
    with mean.in_place():
        assert torch.equal(flat.compute["a"], first)
    assert torch.equal(flat.master, weights)
    assert torch.equal(flat.compute["a"], copies)


def test_weights_come_back_after_an_interruption() -> None:
    """A checkpoint that is broken off leaves the weights as they were."""
    flat = a_flat()
    mean = RunningMean([flat], DECAY)
    set_to(flat, 1)
    weights = flat.master.detach().clone()
    with pytest.raises(KeyError), mean.in_place():
        raise KeyError
    assert torch.equal(flat.master, weights)


def test_without_a_decay_nothing_is_kept() -> None:
    """The default costs neither memory nor a copy."""
    flat = a_flat()
    mean = RunningMean([flat], 0.0)
    mean.update(1)
    assert mean.split() == {}
    with mean.in_place():
        assert torch.equal(flat.master, a_flat().master)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run that keeps a mean."""
    return run(tmp_path_factory.mktemp("averaged") / "a", emaDecay=DECAY)


def test_training_does_not_see_the_mean(averaged: Finished, concept_run: Finished) -> None:
    """The weights of every state are those of the run without a mean."""
    ours, theirs = averaged.weights(), concept_run.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_checkpoints_hold_the_mean(averaged: Finished, concept_run: Finished) -> None:
    """File and held-out loss are the mean's, between the start and the weights."""
    ours, theirs = (load_file(one.recorder.model(6)) for one in (averaged, concept_run))
    ups = [name for name in ours if "lora_up" in name]
    assert ups
    assert all(0 < ours[name].norm() < theirs[name].norm() for name in ups)
    (_, mine), (_, other) = averaged.recorder.checkpoints[6], concept_run.recorder.checkpoints[6]
    assert mine.held_out_loss != other.held_out_loss


def test_going_on_keeps_the_mean(averaged: Finished, tmp_path: Path) -> None:
    """An attempt that goes on from a state ends with the same mean, bit for bit."""
    control = ScriptedControl(interrupt_from=4)
    first = run(tmp_path / "one", workspace=build_workspace(tmp_path / "one", averaged.settings), control=control)
    second = first.recorder.resume(build_workspace(tmp_path / "two", averaged.settings))
    resumed = run(tmp_path, workspace=second, recorder=first.recorder)
    assert resumed.outcome.from_step == 4
    assert averaged.recorder.model(6).read_bytes() == resumed.recorder.model(6).read_bytes()
    memories = [load_file(one.recorder.states[6][0] / "moments.safetensors") for one in (averaged, resumed)]
    assert memories[0].keys() == memories[1].keys()
    assert all(torch.equal(memories[0][name], memories[1][name]) for name in memories[0])
