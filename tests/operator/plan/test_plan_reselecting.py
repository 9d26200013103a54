"""Minds that change in the grace time: what an earlier selection's Job does to the publishing and deleting of now."""

from __future__ import annotations

from atelier_contract.inputs import PublishInput
from atelier_contract.names import INPUT_FILE
from atelier_contract.reasons import Condition
from atelier_operator.model import DeleteJob
from operator_builders import a_pending_pod, a_pod, a_publish_report, an_ended_pod, condition_of, created
from plan_stages import Stage, at_publishing, choose, job_of


def reselect(*pods: object, **changes: object) -> Stage:
    """Select step 60 alone while the Job that publishes 20 and 50 has these pods."""
    stage = at_publishing()
    (child,) = created(stage.plan)
    return stage.with_job(job_of(child, *pods, **changes)).edit(selection=choose(60))


def asked_steps(stage: Stage) -> list[list[int]]:
    """The steps that each new Job publishes."""
    told = [child.config_map["data"][INPUT_FILE] for child in created(stage.plan)]
    return [[row.step for row in PublishInput.from_bytes(one.encode()).selection] for one in told]


def test_a_job_at_work_is_waited_for() -> None:
    """Nothing is published, deleted or taken back while an earlier selection is being published."""
    stage = reselect(a_pod())
    assert stage.plan.actions == ()
    assert "still publishes an earlier selection" in condition_of(stage.plan, Condition.READY).message


def test_what_it_published_is_kept_and_listed() -> None:
    """When the earlier Job has ended its models are listed, and the selection of now is published."""
    stage = reselect(an_ended_pod(report=a_publish_report(20, 50)), complete=True)
    assert [model.checkpoint for model in stage.status.models or []] == ["step-000020", "step-000050"]
    assert asked_steps(stage) == [[60]]
    assert stage.status.collection is not None
    assert stage.status.collection.checkpoints == 7


def test_a_job_that_is_done_is_not_taken_back_before_it_closes() -> None:
    """A pod that has published is not deleted with its Job while that is not closed: its report would be lost."""
    assert reselect(an_ended_pod(report=a_publish_report(20, 50))).plan.actions == ()


def test_a_job_that_has_not_begun_is_taken_back() -> None:
    """A Job without a started pod has published nothing: it is deleted, and what it was to do is not done."""
    stage = reselect(a_pending_pod())
    (action,) = stage.plan.actions
    assert isinstance(action, DeleteJob)
    assert asked_steps(stage.then(jobs=())) == [[60]]


def test_what_differs_from_the_record_is_not_listed() -> None:
    """A model of an earlier selection with another digest than the recorded one is no published checkpoint."""
    report = a_publish_report(20, 50)
    assert report.publish is not None
    wrong = [row.model_copy(update={"sha256": "f" * 64}) for row in report.publish.models]
    report = report.model_copy(update={"publish": report.publish.model_copy(update={"models": wrong})})
    assert not reselect(an_ended_pod(report=report), complete=True).status.models
