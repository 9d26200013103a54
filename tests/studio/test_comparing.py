"""Two checkpoints side by side: which are meant and where they differ."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract.training_job_status import CheckpointStatus, ResolvedSetting, TrainingJobStatus
from atelier_studio.actions.comparing import (
    Side,
    build_column,
    choose_side,
    join_prompts,
    list_differences,
    read_side,
)
from atelier_studio.errors import BadRequest


def build_status(rank: str, **changes: Any) -> TrainingJobStatus:
    """Return a status with two checkpoints, the first of them the best."""
    rows = [
        CheckpointStatus(
            name="step-000500",
            step=500,
            bytes=3_000_000,
            sha256="a" * 64,
            held_out_loss="0.12",
            best=True,
            state="Available",
        ),
        CheckpointStatus(
            name="step-001000", step=1000, bytes=3_000_000, sha256="b" * 64, held_out_loss="0.13", state="Available"
        ),
    ]
    resolved = [
        ResolvedSetting(name="steps", value="1000", source="Spec"),
        ResolvedSetting(name="conceptModel.rank", value=rank, source="Template"),
    ]
    return TrainingJobStatus(checkpoints=rows, resolved=resolved, **changes)


def test_the_best_is_meant_where_none_is_named() -> None:
    """A job alone stands for its checkpoint of the lowest loss."""
    assert choose_side("teapot", "", build_status("16")) == Side("teapot", 500)


@pytest.mark.parametrize("word", ["1000", "step-001000"])
def test_a_checkpoint_can_be_named_by_its_step(word: str) -> None:
    """Both spellings of a checkpoint mean the same."""
    assert choose_side("teapot", word, build_status("16")) == Side("teapot", 1000)


def delete(status: TrainingJobStatus, name: str) -> TrainingJobStatus:
    """Return the status after a checkpoint was deleted."""
    rows = [row.model_copy(update={"state": "Deleted"} if row.name == name else {}) for row in status.checkpoints or ()]
    return status.model_copy(update={"checkpoints": rows})


def test_the_last_is_meant_where_the_best_was_deleted() -> None:
    """A job alone stands for a checkpoint whose pictures are still there."""
    assert choose_side("teapot", "", delete(build_status("16"), "step-000500")) == Side("teapot", 1000)


def test_what_was_deleted_is_not_compared() -> None:
    """A deleted checkpoint is refused by name, before its pictures are looked for in vain."""
    with pytest.raises(BadRequest, match="step-001000 is no checkpoint of teapot that is kept: there are step-000500"):
        choose_side("teapot", "1000", delete(build_status("16"), "step-001000"))


def test_an_unknown_checkpoint_is_said_with_those_there_are() -> None:
    """The sentence lists what can be named."""
    with pytest.raises(
        BadRequest, match="step-000700 is no checkpoint of teapot that is kept: there are step-000500, "
    ):
        choose_side("teapot", "700", build_status("16"))


def test_a_job_without_checkpoints_is_said() -> None:
    """There is nothing to compare yet."""
    with pytest.raises(BadRequest, match="has no checkpoint yet"):
        choose_side("teapot", "", TrainingJobStatus())


def test_only_what_differs_is_listed() -> None:
    """Equal settings are left out, the differing rank is not, and the losses lead."""
    rows = list_differences([Side("a", 500), Side("b", 1000)], [build_status("16"), build_status("32")])
    assert ("held-out loss", "0.12", "0.13") in rows
    assert ("conceptModel.rank", "16", "32") in rows
    assert "steps" not in {row[0] for row in rows}


def test_shared_prompts_lead() -> None:
    """Rows that both sides have stand above those of one alone."""
    assert join_prompts(["a", "b", "c"], ["c", "d"]) == ["c", "a", "b", "d"]


def test_pictures_follow_their_prompts() -> None:
    """A side without a prompt of the sheet has an empty cell there."""
    column = build_column("b 500", "", ["c", "a", "d"], ["c", "d"], [b"1", b"2"])
    assert list(column.pictures) == [b"1", None, b"2"]


@pytest.mark.parametrize("word", ["", "/step-000500", "a/b/c"])
def test_a_malformed_side_is_refused(word: str) -> None:
    """What is neither JOB nor JOB/CHECKPOINT gets an example."""
    with pytest.raises(BadRequest, match="write for example teapot/step-000500"):
        read_side(word)
