"""What stop, suspend, resume and retry write, and when they make no sense."""

from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.training_job import TrainingJobSpec
from atelier_studio.actions import steering
from atelier_studio.errors import BadRequest
from journey import build_spec


def a_spec(**changes: Any) -> TrainingJobSpec:
    return TrainingJobSpec.model_validate(build_spec(**changes))


def test_stop_is_one_field():
    """Stop writes spec.stop and tells that the checkpoint is kept."""
    change = steering.stop_job("teapot", a_spec(), "Training")
    assert change.patch == {"spec": {"stop": True}}
    assert "keeps its checkpoint" in change.sentence


@pytest.mark.parametrize("state", ["AwaitingSelection", "Publishing", "Collecting", "Finalized"])
def test_a_run_that_is_over_is_not_steered(state: str):
    """A finished run cannot be stopped, suspended or resumed: each says so."""
    for steer in (steering.stop_job, steering.suspend_job, steering.resume_job):
        with pytest.raises(BadRequest, match="has finished already"):
            steer("teapot", a_spec(), state)


@pytest.mark.parametrize("state", ["Failed", "Invalid"])
def test_what_does_not_run_is_sent_to_its_explanation(state: str):
    """Stopping or suspending what has failed, or never began, points to why."""
    for steer in (steering.stop_job, steering.suspend_job):
        with pytest.raises(BadRequest, match="explain-failure teapot"):
            steer("teapot", a_spec(), state)


def test_a_suspended_run_stops_when_it_goes_on():
    """Stop writes its field for a suspended run too, and says that nothing ends before it is resumed."""
    change = steering.stop_job("teapot", a_spec(suspend=True), "Suspended")
    assert (change.patch, "resume teapot" in change.sentence) == ({"spec": {"stop": True}}, True)


def test_resuming_a_failed_run_points_to_retry():
    """A failed run goes on by retry, not by resume."""
    with pytest.raises(BadRequest, match="retry teapot"):
        steering.resume_job("teapot", a_spec(), "Failed")


def test_suspending_twice_says_so():
    """The second suspend changes nothing and says that."""
    assert "already" in steering.suspend_job("teapot", a_spec(suspend=True), "Suspended").sentence


def test_retry_is_an_annotation_with_the_time():
    """Each retry is another value, which the operator acts on once."""
    patch = steering.retry_job("teapot", "Failed", "2026-11-23T07:00:00+00:00").patch
    assert patch["metadata"]["annotations"] == {names.ANNOTATION_RETRY_REQUESTED_AT: "2026-11-23T07:00:00+00:00"}


@pytest.mark.parametrize(("state", "sentence"), [("Training", "has not failed"), ("Invalid", "clone teapot NEW")])
def test_only_a_failed_run_is_tried_again(state: str, sentence: str):
    """Retry of anything else is refused, with what would help."""
    with pytest.raises(BadRequest, match=sentence):
        steering.retry_job("teapot", state, "now")
