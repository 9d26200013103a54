"""What the verbs select, deselect and finalize write."""

from typing import Any

import pytest

from atelier_contract.training_job import SelectionSpec, TrainingJobSpec
from atelier_contract.training_job_status import CheckpointStatus, CollectionStatus, TrainingJobStatus
from atelier_studio.actions.selection import build_selection, describe_finalize, pick_best, pick_last, read_names
from atelier_studio.errors import BadRequest
from journey import build_spec


def a_status() -> TrainingJobStatus:
    rows = [
        CheckpointStatus(name=f"step-00{step}00", step=step * 100, bytes=1_000_000, sha256="a" * 64, state="Available")
        for step in range(10, 13)
    ]
    return TrainingJobStatus(checkpoints=rows)


def test_select_writes_the_whole_list():
    """Selecting one more checkpoint keeps those selected before and writes all of them."""
    before = SelectionSpec(checkpoints=["step-001000"])
    patch = build_selection(before, a_status(), add=["step-001200"])
    assert patch == {"spec": {"selection": {"checkpoints": ["step-001000", "step-001200"]}}}


def test_deselect_takes_a_name_out():
    """A deselected checkpoint is no longer in the list that is written."""
    before = SelectionSpec(checkpoints=["step-001000", "step-001100"])
    patch = build_selection(before, a_status(), remove=["step-001000"])
    assert patch["spec"]["selection"]["checkpoints"] == ["step-001100"]


def test_an_unknown_checkpoint_is_refused_with_the_names_there_are():
    """Selecting what is no checkpoint names those that can be selected."""
    with pytest.raises(BadRequest, match="step-001000, step-001100, step-001200"):
        build_selection(None, a_status(), add=["step-009999"])


def test_finalize_of_nothing_is_refused():
    """Finalizing an empty selection is refused and names the way to keep none."""
    with pytest.raises(BadRequest, match="deletionPolicy: Delete"):
        build_selection(None, a_status(), finalize=True)


def a_spec(**changes: Any) -> TrainingJobSpec:
    return TrainingJobSpec.model_validate(build_spec(**changes))


def test_finalize_says_what_is_kept_and_freed():
    """The question before finalizing tells what is published under which name, and how much is freed."""
    lines = describe_finalize("teapot", a_spec(), a_status(), ["step-001000"])
    assert lines[:3] == [
        "1 of 3 checkpoints will be published:",
        "  step-001000   as tkxw-teapot-step-001000-aaaaaaaa   1.0 MB",
        "2 will be deleted, which frees 2.0 MB: step-001100, step-001200",
    ]


@pytest.mark.parametrize(
    ("retention", "sentence"),
    [
        ({"graceSeconds": 0}, "at once"),
        ({"graceSeconds": 90}, "1m30s after publishing"),
        (None, "10m00s after publishing"),
    ],
)
def test_finalize_says_until_when_it_can_be_undone(retention: dict[str, int] | None, sentence: str):
    """The last line tells when deletion begins, by the job's grace time or the default one."""
    lines = describe_finalize("teapot", a_spec(retention=retention), a_status(), ["step-001000"])
    assert sentence in lines[-1]


def test_a_bare_step_names_its_checkpoint():
    """`select teapot 500` means step-000500."""
    assert read_names(["500", "step-001000", "typo"]) == ["step-000500", "step-001000", "typo"]


def test_best_is_the_marked_one():
    """--best takes the checkpoint that the operator marked."""
    status = a_status()
    rows = [row.model_copy(update={"best": row.step == 1100}) for row in status.checkpoints or ()]
    assert pick_best(status.model_copy(update={"checkpoints": rows})) == "step-001100"


def test_best_without_held_out_pictures_is_refused():
    """--best of a run that measured nothing says why there is no best."""
    with pytest.raises(BadRequest, match="held-out"):
        pick_best(a_status())


def test_last_is_the_highest_step():
    """--last takes the checkpoint of the highest step."""
    assert pick_last(a_status()) == "step-001200"


def test_taking_back_what_is_not_selected_is_refused():
    """Deselecting a checkpoint that is not selected says what is."""
    with pytest.raises(BadRequest, match="selected is step-001000"):
        build_selection(SelectionSpec(checkpoints=["step-001000"]), a_status(), remove=["step-001100"])


def test_taking_back_the_last_one_takes_finalize_back():
    """The API server refuses finalize of nothing: whoever deselects all does not want to finalize."""
    before = SelectionSpec(checkpoints=["step-001000"], finalize=True)
    patch = build_selection(before, a_status(), remove=["step-001000"])
    assert patch["spec"]["selection"] == {"checkpoints": [], "finalize": False}


def test_a_selection_is_fixed_once_deletion_has_begun():
    """After collection.startedAt a change is refused, and the way on is named."""
    collection = CollectionStatus(
        selection_digest="a", checkpoints=2, bytes=2, not_before="t", started_at="2026-11-23T07:00:00Z"
    )
    status = a_status().model_copy(update={"collection": collection})
    with pytest.raises(BadRequest, match=r"began at 2026-11-23T07:00:00Z.*kubectl atelier clone"):
        build_selection(None, status, add=["step-001000"])
