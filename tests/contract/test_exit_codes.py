"""Exit codes are API: each means one thing, and who has to act follows from it."""

from __future__ import annotations

from atelier_contract.exit_codes import FAILING, IGNORED, ExitCode
from atelier_contract.reasons import REASON_OF_EXIT

RELEASED = {
    "DONE": 0,
    "BUG": 1,
    "INVALID_INPUT": 10,
    "DATASET_UNUSABLE": 11,
    "BASE_MODEL_UNUSABLE": 12,
    "OUT_OF_MEMORY": 13,
    "DIVERGED": 14,
    "STORAGE_UNAVAILABLE": 20,
    "INTERRUPTED": 30,
    "PEER_LOST": 31,
}
"""Codes that images in the field use: they never change."""


def test_codes_are_those_of_the_field() -> None:
    """A released code keeps its number."""
    assert RELEASED.items() <= {code.name: code.value for code in ExitCode}.items()


def test_codes_are_unique() -> None:
    """No two names share a number (an alias would vanish from the enumeration)."""
    assert len(ExitCode.__members__) == len(list(ExitCode))


def test_no_code_is_both_failing_and_ignored() -> None:
    """A Job cannot be failed and go on for free by the same code."""
    assert not set(FAILING) & set(IGNORED)


def test_success_and_bugs_are_neither() -> None:
    """Success ends a Job by itself; a bug and a lost store are counted against the retries."""
    assert {ExitCode.DONE, ExitCode.BUG, ExitCode.STORAGE_UNAVAILABLE} == set(ExitCode) - set(FAILING) - set(IGNORED)


def test_every_code_but_success_and_bug_has_a_reason() -> None:
    """Status names a reason for each code; a bug's is the same for all of them."""
    assert set(REASON_OF_EXIT) == set(ExitCode) - {ExitCode.DONE, ExitCode.BUG}


def test_codes_are_none_that_a_shell_or_signal_makes() -> None:
    """126 and above mean that the program could not start or was killed."""
    assert max(ExitCode) < 126
