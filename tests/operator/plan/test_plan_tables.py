"""The tables of status: attempts, checkpoints, progress; when they are written, and that they stay small."""

from __future__ import annotations

import pytest

from atelier_contract.base import canonical_json
from atelier_contract.names import MAX_STATUS_BYTES
from atelier_contract.progress import CheckpointRow
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import ObservedProgress
from operator_builders import (
    NOW,
    a_dataset,
    a_job,
    a_pod,
    a_publish_report,
    a_report,
    a_row,
    a_spec,
    a_train_report,
    an_answer,
    an_ended_pod,
    condition_of,
    created,
    later,
)
from plan_stages import Stage, at_grace, at_running, at_selection, at_training, choose, job_of

TRAIN = "teapot-train-1"


def heard(stage: Stage, *, seconds: float = 0.0, pod: str = "pod-uid", **answer: object) -> Stage:
    """The running pod has answered."""
    identity = str(answer.pop("run_identity", stage.status.run_identity))
    report = an_answer(pod, identity).model_copy(update=answer)
    asked_at = later((stage.now - NOW).total_seconds() + seconds)
    return stage.then(seconds=seconds, progress=ObservedProgress("pod-uid", asked_at, report))


def test_attempt_is_listed_when_it_starts() -> None:
    """A pod that began to train is a row: where, from which Job, not yet ended."""
    (row,) = at_running().status.attempts or []
    assert (row.id, row.node, row.ordinal, row.reason) == ("pod-uid", "node-1", 1, "")


def test_pod_that_waits_is_no_attempt() -> None:
    """A pod whose container has not run is not listed."""
    pod = a_pod(started_at=None, phase="Pending")
    assert at_training().with_job(a_job(TRAIN, Role.TRAIN, pod)).status.attempts is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code": 30}, Reason.INTERRUPTED),
        ({"code": 31}, Reason.PEER_LOST),
        ({"code": 137, "disrupted": True}, Reason.DISRUPTED),
        ({"code": 1}, Reason.TRAINER_ERROR),
    ],
)
def test_attempt_says_how_it_ended(changes: dict, reason: Reason) -> None:
    """The row of an ended pod tells why, and how long it ran."""
    ended = an_ended_pod(**changes)
    stage = at_running().with_job(a_job(TRAIN, Role.TRAIN, ended, a_pod("next", created_at=later(5))))
    first, second = stage.status.attempts or []
    assert (first.reason, first.seconds) == (reason, 20)
    assert (second.id, second.reason) == ("next-uid", "")


def test_attempt_tells_its_steps() -> None:
    """From which step to which an attempt went comes from its last words."""
    ended = an_ended_pod(report=a_train_report("pod-uid", 10, 40, from_step=30))
    (row,) = at_running().with_job(a_job(TRAIN, Role.TRAIN, ended, complete=True)).status.attempts or []
    assert (row.from_step, row.to_step) == (30, 40)


def test_vanished_attempt_is_ended() -> None:
    """A pod that is gone without a word has an end in the table."""
    (row,) = at_running().then(jobs=()).status.attempts or []
    assert row.reason == Reason.INTERRUPTED


def test_attempt_of_an_orphan_goes_on() -> None:
    """A pod whose Job was deleted is still at work until it has ended: its row has no end yet."""
    stage = at_running().then(jobs=(), orphans=(a_pod(deleted_at=later(100)),))
    assert [row.reason for row in stage.status.attempts or []] == [""]
    assert [row.reason for row in stage.then(orphans=()).status.attempts or []] == [Reason.INTERRUPTED]


def test_only_ten_attempts_are_kept() -> None:
    """The table holds the last ten, and older pods that are still there do not come back."""
    pods = [
        an_ended_pod(f"p{n:02d}", code=30, created_at=later(n), started_at=later(n), finished_at=later(n + 1))
        for n in range(12)
    ]
    stage = at_training().with_job(a_job(TRAIN, Role.TRAIN, *pods))
    expected = [f"p{n:02d}-uid" for n in range(2, 12)]
    assert [row.id for row in stage.status.attempts or []] == expected
    assert [row.id for row in stage.then().status.attempts or []] == expected


def test_live_checkpoints_are_listed() -> None:
    """A checkpoint that a running pod tells of is in the table at once, with its full digest."""
    row = CheckpointRow(step=10, bytes=5, sha256="a" * 64, held_out_loss=0.25, samples=4)
    stage = heard(at_running(), checkpoints=[row])
    (listed,) = stage.status.checkpoints or []
    assert (listed.name, listed.sha256, listed.held_out_loss) == ("step-000010", "a" * 64, "0.2500")


def test_first_whole_checkpoint_of_a_step_wins() -> None:
    """A later attempt's row of the same step changes nothing; a fuller digest of the same file completes it."""
    stage = at_running()
    short = CheckpointRow(step=10, bytes=5, sha256="a" * 16)
    first = heard(stage, checkpoints=[short])
    other = heard(first, checkpoints=[short.model_copy(update={"sha256": "b" * 64, "bytes": 9})])
    full = heard(other, checkpoints=[short.model_copy(update={"sha256": "a" * 64})])
    assert [row.sha256 for row in other.status.checkpoints or []] == ["a" * 16]
    assert [(row.sha256, row.bytes) for row in full.status.checkpoints or []] == [("a" * 64, 5)]


def test_rows_of_failed_pods_count() -> None:
    """Checkpoints that an interrupted attempt made are listed by its last words."""
    report = a_report(Role.TRAIN, Reason.INTERRUPTED, rows=[a_row(0), a_row(10)])
    stage = at_running().with_job(a_job(TRAIN, Role.TRAIN, an_ended_pod(code=30, report=report)))
    assert [row.step for row in stage.status.checkpoints or []] == [10]


def test_best_is_marked_by_held_out_loss() -> None:
    """The lowest held-out loss is marked, and never chosen for the user."""
    rows = [a_row(10, 0.3), a_row(20, 0.1), a_row(30, 0.2)]
    report = a_train_report().model_copy(update={"rows": rows})
    stage = at_running().with_job(a_job(TRAIN, Role.TRAIN, an_ended_pod(report=report), complete=True))
    assert [row.best for row in stage.status.checkpoints or []] == [None, True, None]
    assert {row.state for row in stage.status.checkpoints or []} == {"Available"}


@pytest.mark.parametrize("spec", [a_spec(), a_spec(validation={"heldOut": "none"})])
def test_no_best_without_held_out_pictures(spec: object) -> None:
    """A loss measured on training pictures marks no best."""
    items = 11 if spec == a_spec() else 40
    stage = at_selection(spec, dataset=a_dataset(items=items))  # type: ignore[arg-type]  # parametrized
    assert {row.best for row in stage.status.checkpoints or []} == {None}


def test_answer_of_another_attempt_is_ignored() -> None:
    """A pod that speaks of another attempt or run is not believed."""
    for wrong in ({"pod": "other"}, {"run_identity": "f" * 64}):
        stage = heard(at_running(), **wrong)  # type: ignore[arg-type]  # one of two keywords
        assert stage.status.progress is None
        assert condition_of(stage.plan, Condition.PROGRESS_REPORTED).reason == Reason.UNREACHABLE


def test_unreachable_pod_does_not_stop_the_run() -> None:
    """A pod that cannot be asked is told as such, and nothing is done to it."""
    stage = at_running().then(progress=ObservedProgress("pod-uid", NOW, None, "connection refused"))
    reported = condition_of(stage.plan, Condition.PROGRESS_REPORTED)
    assert (reported.status, reported.reason) == ("False", Reason.UNREACHABLE)
    assert "connection refused" in reported.message
    assert stage.plan.actions == ()


def test_progress_is_told_in_whole_numbers_and_text() -> None:
    """Floats become text, so that equal observations give equal documents."""
    stage = heard(at_running(), step=25, loss=0.1234567, images_per_second=3.14159, remaining_seconds=12)
    progress = stage.status.progress
    assert progress is not None
    assert (progress.percent, progress.loss, progress.images_per_second) == (25, "0.1235", "3.14")
    assert progress.observed_at == "2026-11-23T12:00:00Z"


def test_progress_alone_is_written_once_in_ten_seconds() -> None:
    """Fresher numbers are held back, and the plan comes back when they may be written."""
    stage = heard(at_running(), step=20)
    held = heard(stage, seconds=5, step=30)
    assert held.status == stage.status
    assert held.plan.look_again_seconds == pytest.approx(5)
    written = heard(held, seconds=5, step=40)
    assert written.status.progress is not None
    assert written.status.progress.step == 40


def test_progress_goes_with_other_news() -> None:
    """A new checkpoint is written at once, with the progress of that moment."""
    stage = heard(at_running(), step=20)
    row = CheckpointRow(step=20, bytes=5, sha256="a" * 64)
    written = heard(stage, seconds=1, step=21, checkpoints=[row])
    assert written.status.progress is not None
    assert written.status.progress.step == 21


def test_standstill_is_not_written() -> None:
    """A pod that tells the same numbers again causes no write, however late."""
    stage = heard(at_running(), step=20)
    assert heard(stage, seconds=600, step=20).status == stage.status


def test_transition_times_move_with_the_value_only() -> None:
    """A condition whose reason changes keeps the time at which its value last did."""
    stage = at_running()
    moved = heard(stage, seconds=30)
    ready = condition_of(moved.plan, Condition.READY)
    assert ready.reason == "Training"
    assert ready.last_transition_time == "2026-11-23T12:00:00Z"
    done = moved.with_job(a_job(TRAIN, Role.TRAIN, an_ended_pod(report=a_train_report()), complete=True), seconds=30)
    assert condition_of(done.plan, Condition.READY).last_transition_time == "2026-11-23T12:01:00Z"


def test_new_generation_is_observed() -> None:
    """Status says which generation it speaks of, in every condition."""
    stage = at_selection().edit(selection=choose(20, finalize=False))
    assert stage.status.observed_generation == 2
    assert {c.observed_generation for c in stage.status.conditions} == {2}


def test_full_tables_stay_below_the_limit() -> None:
    """Forty published checkpoints, ten attempts on nodes with long names, long settings: written as they are."""
    spec = a_spec(conceptModel={"captionPrefix": "p" * 100}, validation={"prompts": ["q" * 500] * 8})
    steps = range(100_000, 500_000, 10_000)
    stage = at_selection(spec, *steps).edit(selection=choose(*steps))
    pod = an_ended_pod(report=a_publish_report(*steps))
    done = stage.with_job(job_of(created(stage.plan)[0], pod, complete=True)).status
    attempt = (done.attempts or [])[0].model_copy(update={"node": "n" * 63})
    full = done.model_copy(update={"attempts": [attempt] * 10})
    assert len(full.models or []) == len(full.checkpoints or []) == 40
    assert len(canonical_json(full.as_json())) < MAX_STATUS_BYTES


def test_status_survives_the_api_server() -> None:
    """What is written reads back as the same status, so that nothing is written again."""
    status = at_grace().status
    assert TrainingJobStatus.model_validate(status.as_json()) == status
