"""A status never passes 32 KiB, so that etcd and every watch of it stay light."""

from __future__ import annotations

import pytest

from atelier_contract.base import canonical_json
from atelier_contract.conditions import ConditionStatus
from atelier_contract.names import MAX_STATUS_BYTES
from atelier_contract.reasons import Condition, Reason
from atelier_contract.training_job_status import (
    MAX_ATTEMPTS,
    MAX_CHECKPOINT_ROWS,
    MAX_RESOLVED_ROWS,
    AttemptStatus,
    CheckpointStatus,
    ModelStatus,
    ProgressStatus,
    ResolvedSetting,
    TrainingJobStatus,
    fit_status,
)
from contract_examples import OTHER_SHA, SHA, UID

NOW = "2026-11-23T00:37:58.123456Z"


def size_of(status: TrainingJobStatus) -> int:
    return len(canonical_json(status.as_json()))


def the_largest(letter: str) -> TrainingJobStatus:
    """Return a status with every row there can be and every text as long as it may be, made of one letter."""
    conditions = [
        ConditionStatus(
            type=kind,
            status="Unknown",
            reason=max(Reason, key=len),
            message=letter * 1024,
            observed_generation=99_999,
            last_transition_time=NOW,
        )
        for kind in Condition
    ]
    checkpoints = [
        CheckpointStatus(
            name=f"step-{step:07d}",
            step=step,
            bytes=2**40,
            sha256=SHA,
            held_out_loss="0.123456789",
            samples=8,
            best=True,
            state="Available",
        )
        for step in range(960_001, 1_000_000, 1000)
    ]
    models = [
        ModelStatus(name="m" * 80, checkpoint=row.name, key="k" * 512, sha256=SHA, bytes=2**40) for row in checkpoints
    ]
    attempts = [
        AttemptStatus(
            id=UID, node="n" * 253, reason=max(Reason, key=len), from_step=10**6, to_step=10**6, seconds=10**6
        )
        for _ in range(MAX_ATTEMPTS)
    ]
    return TrainingJobStatus(
        observed_generation=99_999,
        conditions=conditions,
        run_identity=SHA,
        spec_digest=OTHER_SHA,
        dataset_revision=SHA,
        prior_dataset_revision=OTHER_SHA,
        trainer_image="i" * 512,
        resolved=[
            ResolvedSetting(name=f"conceptModel.textEncoderLearningRate{n:02d}", value=letter * 128, source="Template")
            for n in range(MAX_RESOLVED_ROWS)
        ],
        progress=ProgressStatus(
            phase="Checkpointing", step=10**6, total_steps=10**6, percent=100, loss="0.1234", observed_at=NOW
        ),
        attempts=attempts,
        start_time=NOW,
        completion_time=NOW,
        checkpoints=checkpoints,
        models=models,
        kept="40/40",
    )


@pytest.mark.parametrize("letter", ["x", "急", "𝕏", '"'])
def test_largest_status_fits(letter: str) -> None:
    """Whatever letters its texts are made of, the largest status is brought below the limit."""
    largest = the_largest(letter)
    assert size_of(largest) > MAX_STATUS_BYTES
    assert size_of(fit_status(largest)) <= MAX_STATUS_BYTES


def test_no_row_is_dropped() -> None:
    """Checkpoints, models, attempts and conditions are all still there, and each can be told from the others."""
    fitted = fit_status(the_largest("x"))
    assert len({row.name for row in fitted.checkpoints or ()}) == MAX_CHECKPOINT_ROWS
    assert len({row.checkpoint for row in fitted.models or ()}) == MAX_CHECKPOINT_ROWS
    assert len(fitted.attempts or ()) == MAX_ATTEMPTS
    assert {row.type for row in fitted.conditions} == set(Condition)


def test_status_that_fits_is_not_touched() -> None:
    """An ordinary status is written word for word."""
    ordinary = the_largest("x").model_copy(update={"models": None, "resolved": None, "conditions": []})
    assert fit_status(ordinary) == ordinary
