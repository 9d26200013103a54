"""How the losses of several seeds are judged, and that a side's seeds are trained as its timed run is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import trainer_comparisons
from trainer_comparisons import HOST, build_seeds, build_task, read_held_out
from trainer_losses import Judged, learn


@pytest.mark.parametrize(("ratio", "is_worse"), [(0.9, False), (1.0, False), (1.009, False), (1.011, True)])
def test_ours_is_worse_beyond_the_margin_and_only_there(ratio: float, *, is_worse: bool) -> None:
    """One part in a hundred, whatever the losses are."""
    assert Judged("step", [2 * ratio] * 3, [2.0] * 3).is_worse is is_worse


def test_one_unlucky_seed_does_not_decide() -> None:
    """Nor does a lucky one: the median of the pairs does."""
    peer = [1.0] * 5
    assert not Judged("host", [1.2, 1.0, 1.0, 1.0, 1.0], peer).is_worse
    assert Judged("host", [0.8, 1.02, 1.02, 1.02, 1.02], peer).is_worse


def test_the_sides_of_a_pair_have_one_seed() -> None:
    """Losses are divided seed by seed, not median by median."""
    assert Judged("host", [2.0, 3.0, 4.0], [1.0, 3.0, 8.0]).ratios == [2.0, 1.0, 0.5]


def test_a_seed_that_one_side_did_not_reach_counts_for_neither() -> None:
    """The clock may end one side's seeds before the other's."""
    assert Judged("step", [2.0, 3.0], [1.0, 3.0, 8.0]).ratios == [2.0, 1.0]


def test_the_sentence_says_how_sure_it_is() -> None:
    """Of three seeds the interval is all of them, which is little."""
    assert "(3 seeds, 75% sure)" in str(Judged("lora", [1.0] * 3, [1.0] * 3))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the base models of a test."""
    monkeypatch.setattr(trainer_comparisons, "MODELS", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("models")
def test_other_seeds_train_as_long_as_the_timed_run() -> None:
    """Warm steps and turns together; the timed run's own seed is not among them."""
    timed, seeds = build_task(HOST), build_seeds(HOST, pairs=9)
    assert [task.seed for task in seeds] == list(range(1, HOST.loss_pairs))
    assert {task.warm_steps for task in seeds} == {timed.warm_steps + 9 * HOST.steps}


@pytest.mark.usefixtures("models")
def test_seeds_of_one_process_do_not_see_each_other() -> None:
    """The same seed ends at the same loss again after another one, and another one elsewhere."""
    first, second = (replace(task, warm_steps=2) for task in build_seeds(HOST, pairs=0)[:2])
    losses = learn("ours", [first, second, first], read_held_out()[:1], math.inf)
    assert losses[0] == losses[2] != losses[1]
