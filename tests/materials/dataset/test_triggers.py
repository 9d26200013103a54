"""The trigger in captions: counted as words, missed, mistyped, guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_materials.dataset.tokens import is_common_word
from atelier_materials.dataset.triggers import count_trigger, find_misspelt, guess_trigger, put_trigger


@pytest.mark.parametrize(
    ("text", "count"),
    [("TKXW, a teapot", 1), ("a TKXW teapot, TKXW", 2), ("a TKXWs teapot", 0), ("a tkxw teapot", 0), ("", 0)],
)
def test_trigger_is_counted_as_a_word(text: str, count: int) -> None:
    """Only the trigger itself counts, as training writes it, not a longer word that holds it."""
    assert count_trigger("TKXW", text) == count


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a tkxw teapot", "tkxw"),
        ("TKWX, a teapot", "TKWX"),
        ("a TKX teapot", "TKX"),
        ("a TKXWW teapot", "TKXWW"),
        ("TKXW, a teapot", None),
        ("two TKXWs", None),
        ("a red teapot", None),
    ],
)
def test_misspelt_trigger_is_found(text: str, found: str | None) -> None:
    """Another case, or one letter more, less or swapped, is nearly the trigger; a plural is not."""
    assert find_misspelt("TKXW", text, is_common_word) == found


def test_common_word_is_no_misspelling() -> None:
    """A real word one letter off is meant as it is."""
    assert find_misspelt("catz", "cats and a cat", is_common_word) is None


def test_trigger_of_two_words() -> None:
    """A trigger may be several words; they are compared together."""
    assert find_misspelt("TKXW teapot", "a tkxw Teapot on a table", is_common_word) == "tkxw Teapot"


def test_trigger_is_guessed_from_a_habit() -> None:
    """A made-up word that four of five captions hold is taken for the trigger."""
    captions = [f"TKXW, a teapot number {number}" for number in range(9)] + ["a teapot"]
    assert guess_trigger(captions, is_common_word) == "TKXW"


@pytest.mark.parametrize(
    "captions",
    [
        ["TKXW, a teapot"] * 9,
        ["a red teapot on a table"] * 9 + ["a cup"],
        ["TKXW, a teapot"] * 5 + ["a teapot"] * 5,
        ["TKXW"] * 3 + ["a teapot"],
    ],
    ids=["all have it", "ordinary words", "half have it", "too few"],
)
def test_no_habit_no_guess(captions: list[str]) -> None:
    """What all have, what is ordinary, and what few captions show is nothing to complain of."""
    assert guess_trigger(captions, is_common_word) is None


@given(st.text("abTK ,", max_size=12), st.text("abTK", min_size=1, max_size=3))
def test_putting_twice_changes_nothing(text: str, trigger: str) -> None:
    """A caption that got the trigger has it, and gets no second."""
    once = put_trigger(trigger, text)
    assert put_trigger(trigger, once) == once
