"""How sides take turns, and what their figures are made of."""

from __future__ import annotations

import pytest
from trainer_comparisons import HOST, LORA, STEP
from trainer_cpu import Result, describe_ratios, list_missed, list_worse, spread_start
from trainer_losses import Judged
from trainer_pace import Ready, Stretch
from trainer_turns import Measured, order_turn


def build_measured(*seconds: float, start: float = 0.0, warm: int = 0, peak_mib: float = 1.0) -> Measured:
    stretches = [Stretch(second, second, peak_mib) for second in seconds]
    return Measured(Ready(start, warm, 1), stretches, list(seconds), list(seconds))


def test_turns_swap_their_order() -> None:
    """Whoever comes first in a pair comes second in the next: a machine that slows down favours nobody."""
    assert [order_turn(["a", "b", "c"], turn) for turn in (0, 1)] == [["a", "b", "c"], ["c", "b", "a"]]


def test_the_start_is_spread_over_a_run_without_its_warm_steps() -> None:
    """Of 24 s with 2 warm steps of 2 s each, 20 s are start-up: 10 ms in each of 2,000 steps."""
    assert spread_start(build_measured(2.0, 2.0, 2.0, start=24.0, warm=2)) == pytest.approx([2.01] * 3)


def test_a_ratio_above_one_says_that_ours_is_faster() -> None:
    """Images a second of ours over the peer's, so the peer's seconds over ours."""
    result = Result({"ours": build_measured(1.0), "peer": build_measured(3.0)}, {})
    assert describe_ratios(STEP, result)["step_ratio"].median == 3.0


def test_the_start_counts_as_users_run_it() -> None:
    """Caching is paid for: a start of 2,000 s costs ours a second in each step."""
    result = Result({"ours": build_measured(1.0, start=2_000.0), "peer": build_measured(4.0)}, {})
    assert describe_ratios(LORA, result)["lora_ratio"].median == 2.0


def test_the_hosts_ratio_is_of_seconds() -> None:
    """Below one says that ours takes less, compiled and eager alike."""
    sides = {"ours": build_measured(3.0), "ours compiled": build_measured(2.0), "peer": build_measured(4.0)}
    ratios = describe_ratios(HOST, Result(sides, {}))
    assert (ratios["host_ratio"].median, ratios["host_ratio_eager"].median) == (0.5, 0.75)


def test_a_worse_loss_and_more_memory_are_told() -> None:
    """Speed that is paid for in either is none."""
    sides = {"ours": build_measured(1.0, peak_mib=3.0), "peer": build_measured(1.0, peak_mib=2.0)}
    judged = Judged("step", [1.02] * 3, [1.0] * 3)
    loss, memory = list_worse(Result(sides, {"ours": 1.02, "peer": 1.0}), judged)
    assert ("loss" in loss, "MiB" in memory) == (True, True)


def test_another_loss_when_compiled_is_told() -> None:
    """The same draws lead to the same loss, however steps are computed."""
    sides = {"ours": build_measured(1.0), "ours compiled": build_measured(1.0), "peer": build_measured(1.0)}
    judged = Judged("host", [1.0] * 9, [1.0] * 9)
    (sentence,) = list_worse(Result(sides, {"ours": 1.0, "ours compiled": 0.9, "peer": 1.0}), judged)
    assert "compiled" in sentence


def test_what_misses_its_mark_is_told_and_nothing_else() -> None:
    """Figures that were not measured are not asked for."""
    assert not list_missed({"lora_ratio": 2.0, "host_ratio": 0.7})
    assert [sentence.split()[0] for sentence in list_missed({"lora_ratio": 1.99, "host_ratio": 0.71})] == [
        "lora_ratio",
        "host_ratio",
    ]
