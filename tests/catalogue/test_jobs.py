"""Mistakes with jobs: names that are not there, verbs at the wrong time. Each is made on a real API server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from atelier_contract.reasons import State
from desk import Desk, a_checkpoint, a_state
from plugin import assert_refused

pytestmark = pytest.mark.cluster

NOW_NOT = "docs/commands.md#it-cannot-be-done-now"
NO_SUCH = "docs/commands.md#no-such-object"
TYPED = ""


@dataclass(frozen=True)
class Mistake:
    """What was typed, and what must be said: exit code, what is wrong and what to do, where to read on."""

    typed: str
    says: tuple[str, ...]
    page: str = NOW_NOT
    exit_code: int = 2


MISTAKES = {
    "typo in a job's name": Mistake(
        "watch teaptot", ("there is no TrainingJob teaptot in namespace catalogue", "did you mean teapot?"), NO_SUCH
    ),
    "a name like none": Mistake(
        "describe xylophone", ("there is no TrainingJob xylophone", "there are broken, done, "), NO_SUCH
    ),
    "the Dataset's name for the job's": Mistake(
        "stop teapots", ("there is no TrainingJob teapots", "did you mean teapot?"), NO_SUCH
    ),
    "a checkpoint that is none": Mistake(
        "select teapot step-000600",
        (
            "step-000600 is no checkpoint of this job that can be selected",
            "there are step-000500, step-001000, step-001500",
        ),
    ),
    "a step that has no checkpoint": Mistake(
        "select teapot 7", ("step-000007 is no checkpoint of this job", "step-001500")
    ),
    "select without a name": Mistake("select teapot", ("name checkpoints, or use --best or --last",)),
    "select while there is none yet": Mistake(
        "select young step-000500", ("step-000500 is no checkpoint", "there are none yet")
    ),
    "the best of none": Mistake("select paused --best", ("no checkpoint of this job is marked as best", "12 or more")),
    "the last of none": Mistake("select young --last", ("has no checkpoint yet", "kubectl atelier watch")),
    "deselect what is not selected": Mistake(
        "deselect teapot step-000500", ("step-000500 is not selected", "selected is nothing")
    ),
    "finalize with nothing selected": Mistake(
        "finalize teapot --yes", ("nothing is selected: select at least one checkpoint first", "deletionPolicy: Delete")
    ),
    "finalize while it trains": Mistake(
        "finalize young --yes", ("young is not over yet (Training)", "kubectl atelier stop young")
    ),
    "finalize a failed run": Mistake(
        "finalize broken --yes",
        ("broken has failed, and a failed run is not finalized", "kubectl atelier retry broken"),
    ),
    "finalize twice": Mistake("finalize done --yes", ("done is finalized already", "kubectl atelier download done")),
    "finalize where nobody can answer": Mistake(
        "finalize picked", ("nobody can answer here (no terminal)", "add --yes")
    ),
    "stop a finished run": Mistake(
        "stop teapot", ("teapot has finished already (AwaitingSelection)", "kubectl atelier checkpoints teapot")
    ),
    "stop a failed run": Mistake(
        "stop broken", ("broken has failed and does not run", "kubectl atelier explain-failure broken")
    ),
    "suspend a finished run": Mistake("suspend done", ("done has finished already (Finalized)", "nothing to suspend")),
    "resume a finished run": Mistake("resume teapot", ("teapot has finished already", "nothing to resume")),
    "resume a failed run": Mistake("resume broken", ("broken has failed", "kubectl atelier retry broken")),
    "retry what has not failed": Mistake("retry teapot", ("teapot has not failed (it is AwaitingSelection)",)),
    "retry what cannot be done": Mistake(
        "retry wrong", ("asks for something that cannot be done", "kubectl atelier clone wrong NEW")
    ),
    "an output that there is not": Mistake("list -o xml", ("'xml' is not one of", "'json'", "'yaml'"), TYPED),
    "a verb that there is not": Mistake("train teapot", ("No such command 'train'",), TYPED),
    "an option that there is not": Mistake("list --verbose", ("No such option: --verbose",), TYPED),
    "no name at all": Mistake("watch", ("Missing argument",), TYPED),
}


@pytest.fixture(scope="module")
def picked(desk: Desk) -> None:
    """A job whose selection is ready to be finalized."""
    rows = [a_checkpoint(500), a_checkpoint(1000, "Selected")]
    desk.make_job(
        "picked",
        a_state(State.AWAITING_SELECTION, "choose", checkpoints=rows),
        selection={"checkpoints": ["step-001000"]},
    )


@pytest.mark.usefixtures("picked")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_words(desk: Desk, name: str) -> None:
    """The sentence says what is wrong and what to do, the last line where to read on, the code whose move it is."""
    mistake = MISTAKES[name]
    answer = desk.type(*mistake.typed.split())
    assert_refused(answer, mistake.exit_code, *mistake.says, page=mistake.page)
