"""Mistakes with what a run has brought: too early, too late, the wrong name, a place that cannot be written."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pytest

from desk import Desk
from plugin import assert_refused

pytestmark = pytest.mark.cluster

NOW_NOT = "docs/commands.md#it-cannot-be-done-now"
NO_SUCH = "docs/commands.md#no-such-object"


@dataclass(frozen=True)
class Mistake:
    """What was typed, and what must be said: exit code, what is wrong and what to do, where to read on."""

    typed: str
    says: tuple[str, ...]
    page: str = NOW_NOT
    exit_code: int = 2


MISTAKES = {
    "download before finalize": Mistake(
        "download teapot", ("teapot has published nothing yet", "select checkpoints and finalize first")
    ),
    "download of a run that is not there": Mistake(
        "download taepot", ("there is no TrainingJob taepot", "did you mean teapot?"), NO_SUCH
    ),
    "download of a checkpoint that is none": Mistake(
        "download teapot --checkpoint 600", ("step-000600", "step-000500")
    ),
    "samples before there are any": Mistake(
        "samples young", ("young has no checkpoint in the store", "kubectl atelier watch young")
    ),
    "samples of a run that has not begun": Mistake(
        "samples untouched", ("untouched has brought nothing yet", "kubectl atelier describe untouched")
    ),
    "compare with what is not there": Mistake(
        "compare teapot/step-000500 taepot", ("there is no TrainingJob taepot", "did you mean teapot?"), NO_SUCH
    ),
    "compare with a checkpoint that is none": Mistake("compare teapot/500 teapot/600", ("step-000600", "step-000500")),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_words(desk: Desk, name: str) -> None:
    """The sentence says what is wrong and what to do."""
    mistake = MISTAKES[name]
    answer = desk.type(*shlex.split(mistake.typed))
    assert_refused(answer, mistake.exit_code, *mistake.says, page=mistake.page)


def test_a_store_that_has_lost_a_model(desk: Desk) -> None:
    """A published model that somebody deleted from the store is named, with what may be left."""
    answer = desk.type("download", "done")
    says = ("is not in", "somebody deleted or moved it", "--checkpoint step-001000")
    assert_refused(answer, 1, *says, page="docs/troubleshooting.md#trainererror")
