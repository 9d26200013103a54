"""A running job as people follow it: lines for pipes, curves for terminals, and when there is no more to follow."""

import io
from typing import Any

import pytest
from rich.console import Console

from atelier_contract import names
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_studio.actions import tables
from atelier_studio.actions.watching import (
    Course,
    count,
    draw_curve,
    is_at_rest,
    list_news,
    read_decimal,
    tell_progress,
)
from atelier_studio.cli import live_view
from atelier_studio.cli.following import watch_plainly
from atelier_studio.errors import StudioError
from journey import build_spec


def a_job(
    state: str, message: str = "", *, step: int = 0, loss: str = "", rows: int = 0, **changes: Any
) -> dict[str, Any]:
    moment = "2026-11-23T07:00:00Z"
    checkpoints = [
        {
            "name": f"step-{number * 10:06d}",
            "step": number * 10,
            "bytes": 1000,
            "sha256": "ab",
            "samples": 1,
            "heldOutLoss": f"0.{9 - number}",
            "best": number == rows,
            "state": "Available",
        }
        for number in range(1, rows + 1)
    ]
    status = {
        "observedGeneration": 1,
        "conditions": [
            {"type": "Ready", "status": "False", "reason": state, "message": message, "lastTransitionTime": moment}
        ],
        "progress": {"step": step, "totalSteps": 40, "percent": step * 100 // 40, "loss": loss, "phase": "Training"},
        "checkpoints": checkpoints,
        **changes.pop("status", {}),
    }
    metadata = {"name": "teapot", "generation": 1, **changes.pop("metadata", {})}
    return {"kind": "TrainingJob", "metadata": metadata, "spec": build_spec(**changes), "status": status}


def a_status(*arguments: Any, **changes: Any) -> TrainingJobStatus:
    return tables.read_status(a_job(*arguments, **changes))


def test_a_new_state_is_a_line():
    """A change of state or of its sentence is told."""
    news = list(list_news(a_status("Queued", "waits"), a_status("Scheduling", "no pod yet")))
    assert news == ["Scheduling: no pod yet"]


def test_a_new_checkpoint_is_a_line():
    """A checkpoint is told once, with its loss and whether it is the lowest."""
    before, after = a_status("Training", step=10, rows=1), a_status("Training", step=10, rows=2)
    assert list(list_news(before, after)) == ["checkpoint step-000020  held-out loss 0.7  1 sample  lowest so far"]


def test_the_first_look_counts_what_is_there():
    """Who begins to watch late is told how many checkpoints there are, not each of them."""
    assert "2 checkpoints so far, the last is step-000020" in list(list_news(None, a_status("Training", rows=2)))


def test_the_same_look_is_no_news():
    """Equal statuses print nothing: a pipe is not filled with repetitions."""
    assert not list(list_news(a_status("Training", step=10), a_status("Training", step=10)))


def test_progress_of_a_run_that_is_over_is_not_told():
    """While models are published, the last progress of the training is old news."""
    assert list(list_news(None, a_status("Publishing", "at work", step=20))) == ["Publishing: at work"]


def test_progress_is_one_line():
    """How far, how good and how long still stand in one line."""
    status = a_status(
        "Training",
        status={
            "progress": {
                "step": 10,
                "totalSteps": 40,
                "percent": 25,
                "loss": "0.05",
                "imagesPerSecond": "8.1",
                "remainingSeconds": 62,
            }
        },
    )
    assert tell_progress(status) == "25%  step 10/40  loss 0.05  8.1 pictures/s  1m02s left"


@pytest.mark.parametrize("state", ["AwaitingSelection", "Finalized", "Failed", "Invalid"])
def test_a_job_rests_where_a_person_must_act(state: str):
    """The watch ends in states that nothing but a person leaves."""
    body = a_job(state)
    assert is_at_rest(body, tables.read_status(body))


@pytest.mark.parametrize("state", ["Training", "Publishing", "Collecting", "Suspended", "Restarting"])
def test_a_job_that_goes_on_does_not_rest(state: str):
    """The watch goes on while anything may happen without a person."""
    body = a_job(state)
    assert not is_at_rest(body, tables.read_status(body))


def test_an_old_status_is_no_rest():
    """Right after a change of the spec, the status still speaks of what was before."""
    body = a_job("AwaitingSelection", metadata={"generation": 2})
    assert not is_at_rest(body, tables.read_status(body))


def test_a_run_that_is_being_finalized_does_not_rest():
    """After finalize the watch waits for what comes of it."""
    body = a_job("AwaitingSelection", selection={"checkpoints": ["step-000010"], "finalize": True})
    assert not is_at_rest(body, tables.read_status(body))


def test_a_refused_selection_rests():
    """A selection that the operator refuses is for the person to mend."""
    refused = {
        "type": "SelectionValid",
        "status": "False",
        "reason": "UnknownCheckpoint",
        "lastTransitionTime": "2026-11-23T07:00:00Z",
    }
    body = a_job("AwaitingSelection", selection={"checkpoints": ["step-000090"], "finalize": True})
    body["status"]["conditions"].append(refused)
    assert is_at_rest(body, tables.read_status(body))


def test_a_retry_that_was_just_asked_for_is_no_rest():
    """Right after retry the status still says Failed, of the attempt before."""
    asked = {names.ANNOTATION_RETRY_REQUESTED_AT: "2"}
    body = a_job("Failed", metadata={"annotations": asked}, status={"lastHandledRetryAt": "1"})
    assert not is_at_rest(body, tables.read_status(body))
    body["status"]["lastHandledRetryAt"] = "2"
    assert is_at_rest(body, tables.read_status(body))


def test_the_course_keeps_each_loss_once():
    """Losses are kept by step; the same look twice is one point."""
    course = Course()
    for step, loss in ((10, "0.5"), (10, "0.5"), (20, "0.4")):
        course = course.add(a_status("Training", step=step, loss=loss))
    assert course.losses == ((10, 0.5), (20, 0.4))


def test_another_attempt_goes_on_from_its_state():
    """What a lost attempt had learned beyond its state is cut: the curve shows the run that goes on."""
    course = Course(((10, 0.5), (20, 0.4), (30, 0.3)))
    assert course.add(a_status("Training", step=20, loss="0.41")).losses == ((10, 0.5), (20, 0.41))


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([0.1], 8, "▁"),
        ([1, 2, 3], 8, "▁▅█"),
        ([3, 2, 1], 8, "█▅▁"),
        ([1, 1, 3, 3], 2, "▁█"),
        ([2, 2], 8, "▁▁"),
    ],
)
def test_curves_are_lines_of_blocks(values: list[float], width: int, drawn: str):
    """The lowest value is the lowest block; more values than room are averaged."""
    assert draw_curve(values, width) == drawn


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("", None), ("nan?", None)])
def test_decimals_of_a_status_are_read_or_nothing(text: str, value: float | None):
    """Numbers in status are text; an empty one is no number."""
    assert read_decimal(text) == value


def test_one_thing_is_singular():
    """1 sample, 2 samples."""
    assert (count(1, "sample"), count(2, "sample")) == ("1 sample", "2 samples")


def test_a_pipe_gets_lines_until_the_job_rests(capsys: pytest.CaptureFixture[str]):
    """Piped, the watch prints news as plain lines and hands back the job that rests."""
    looks = [a_job("Training", "at work", step=10), a_job("Training", "at work", step=20, rows=1), a_job("Failed")]
    assert watch_plainly(iter(looks)) is looks[-1]
    shown = capsys.readouterr().out
    assert "Training: at work" in shown
    assert "checkpoint step-000010" in shown
    assert "\x1b" not in shown


def test_a_live_view_shows_bar_losses_and_checkpoints():
    """On a terminal stand state, bar, step, both curves, the checkpoints and what to do next."""
    body = a_job("Training", "pod x on y", step=20, loss="0.4", rows=3)
    status = tables.read_status(body)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(live_view.draw_job(body, status, Course(((10, 0.5), (20, 0.4))), 0.0, "*"))
    shown = console.export_text()
    for piece in ("teapot Training", "step 20 of 40", "50 %", "█▁", "held out", "lowest 0.6000 at step 30", "30*"):
        assert piece in shown, shown
    assert "3 checkpoints" in shown
    assert "kubectl atelier stop teapot" in shown


def test_the_time_left_runs_between_two_looks():
    """A look that is ten seconds old tells ten seconds less."""
    body = a_job(
        "Training",
        status={"progress": {"step": 1, "totalSteps": 40, "percent": 2, "remainingSeconds": 70}},
    )
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(live_view.draw_job(body, tables.read_status(body), Course(), 10.0, "*"))
    assert "1m00s left" in console.export_text()


def test_a_status_of_a_newer_release_is_a_sentence():
    """A status that this release cannot read asks for the release that belongs to the cluster."""
    body = a_job("Training")
    body["status"]["progress"] = {"step": "many"}
    with pytest.raises(StudioError, match="belongs to the cluster's Atelier"):
        tables.read_status(body)
