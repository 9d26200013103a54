"""What the verbs select, deselect and finalize write."""

import pytest

from atelier_contract.training_job import SelectionSpec
from atelier_contract.training_job_status import CheckpointStatus, TrainingJobStatus
from atelier_studio.actions.selection import build_selection, describe_finalize
from atelier_studio.errors import BadRequest


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


def test_finalize_says_what_is_freed():
    """The question before finalizing tells how many are kept and how much is freed."""
    assert describe_finalize(a_status(), ["step-001000"]) == (
        "1 of 3 checkpoints will be published, 2 deleted after the grace time (2.0 MB freed)"
    )
