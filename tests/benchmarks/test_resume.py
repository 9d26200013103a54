"""What the benchmark of killed trainers refuses to call good."""

from __future__ import annotations

import pytest
import resume
from figures import Figure

from atelier_contract.architectures import Architecture

COUNTS = {Architecture.FLUX_1: 3}
GOOD: dict[str, Figure] = {
    **{f"Flux1_killed_while_{phase.lower()}": 3 for phase in resume.KILLED_PHASES},
    "Flux1_differing": 0,
    "Flux1_another_micro_batch_exact": "false",
}


def test_nothing_is_missed_where_all_is_as_wanted() -> None:
    """More kills in a phase than wanted are welcome."""
    assert resume.list_missed(GOOD | {"Flux1_killed_while_training": 5}, COUNTS) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("killed_while_caching", 2), ("differing", 1), ("another_micro_batch_exact", "true")],
)
def test_what_is_missed_is_named(name: str, value: Figure) -> None:
    """Kills that did not land, weights that differ and rounding that changed without a word fail the command."""
    (sentence,) = resume.list_missed(GOOD | {f"Flux1_{name}": value}, COUNTS)
    assert sentence.startswith(f"Flux1_{name} is {value}, wanted")
