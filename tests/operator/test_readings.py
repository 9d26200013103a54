"""From the API server's JSON to what decisions are made from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atelier_contract import names
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator import readings
from atelier_operator.errors import Unreadable
from operator_bodies import CREATED_AT, TRAINING_JOB_SPEC, a_job, a_pod, a_training_job

LAST_WORDS = TerminationReport(role=Role.TRAIN, reason=Reason.DIVERGED, message="the loss is not finite")


def ended(**fields: object) -> dict:
    return {"terminated": {"exitCode": 14, "startedAt": CREATED_AT, "finishedAt": CREATED_AT, **fields}}


def test_last_words_of_a_pod_are_read():
    """The termination message comes out as a report."""
    pod = readings.read_pod(a_pod(state=ended(message=LAST_WORDS.to_message())))
    assert pod.report == LAST_WORDS


@pytest.mark.parametrize("message", ["", "Traceback (most recent call last)", "{}", '{"schemaVersion": 99}'])
def test_nonsense_as_last_words_reads_as_none(message: str):
    """A pod that was killed in mid-sentence does not stop the operator."""
    assert readings.read_pod(a_pod(state=ended(message=message))).report is None


def test_a_pod_that_ran_out_of_memory_says_so():
    """The kernel's kill is told from a bug of ours."""
    assert readings.read_pod(a_pod(state=ended(reason="OOMKilled", exitCode=137))).oom_killed


def test_a_sidecar_is_not_mistaken_for_the_trainer():
    """Only our own container's exit counts."""
    body = a_pod()
    body["status"]["containerStatuses"] = [{"name": "mesh", "state": ended()}]
    assert readings.read_pod(body).exit_code is None


def test_an_unschedulable_pod_says_why_it_waits():
    """A pod without a node shows the scheduler's words."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU is free"}
    pod = readings.read_pod(a_pod(conditions=[condition]))
    assert (pod.scheduled_at, pod.waiting_reason, pod.waiting_message) == (None, "Unschedulable", "no GPU is free")


def test_a_pod_that_cannot_pull_its_image_says_so():
    """The kubelet's words come before the scheduler's."""
    pod = readings.read_pod(a_pod(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))
    assert (pod.waiting_reason, pod.waiting_message) == ("ImagePullBackOff", "no such image")


def test_a_disrupted_pod_is_known():
    """A preemption or a lost node is told from a failure."""
    assert readings.read_pod(a_pod(conditions=[{"type": "DisruptionTarget", "status": "True"}])).disrupted


@pytest.mark.parametrize(("annotations", "index"), [(None, 0), ({}, 0), ("2", 2), ("two", 0)])
def test_a_pod_has_the_index_that_kubernetes_gave_it(annotations: object, index: int):
    """A pod of an Indexed Job has its number; any other pod is the first of its kind."""
    body = a_pod()
    written = {names.ANNOTATION_COMPLETION_INDEX: annotations} if isinstance(annotations, str) else annotations
    body["metadata"]["annotations"] = written
    assert readings.read_pod(body).index == index


def test_a_pod_has_the_grace_it_was_deleted_with():
    """The grace of the deletion counts, not the one of the spec."""
    body = a_pod()
    body["metadata"].update(deletionTimestamp="2026-11-23T00:02:00Z", deletionGracePeriodSeconds=30)
    pod = readings.read_pod(body)
    assert (pod.grace_seconds, pod.deleted_at) == (30, datetime(2026, 11, 23, 0, 2, tzinfo=UTC))


def test_a_pod_belongs_to_the_job_that_controls_it():
    """Another owner reference does not count."""
    body = a_pod()
    body["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "other", "uid": "other-uid"}]
    assert readings.read_pod(body).job_uid == ""


def test_a_failed_job_says_why():
    """Reason and message of the Failed condition come along."""
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    job = readings.read_job(a_job(status={"conditions": [condition]}))
    assert (job.failed, job.failure_reason, job.failure_message) == (True, "BackoffLimitExceeded", "too often")


def test_a_condition_that_is_false_does_not_hold():
    """Complete=False is not complete."""
    assert not readings.read_job(a_job(status={"conditions": [{"type": "Complete", "status": "False"}]})).complete


def test_a_job_without_owner_reference_serves_whom_its_label_says():
    """The collect Job of a deletion must not be owned, and is ours nevertheless."""
    body = a_job()
    body["metadata"]["ownerReferences"] = []
    assert readings.read_job(body).owner_uid == "one-uid"


def test_a_foreign_job_serves_nobody():
    """No owner reference of ours and no label: no owner."""
    body = a_job()
    body["metadata"].update(labels={}, ownerReferences=[{"apiVersion": "apps/v1", "kind": "Deployment", "uid": "x"}])
    assert readings.read_job(body).owner_uid == ""


def test_an_unknown_role_is_no_role():
    """A Job of a later release is not taken for one of ours."""
    body = a_job()
    body["metadata"]["labels"][names.LABEL_ROLE] = "bake"
    assert readings.read_job(body).role is None


def test_a_readable_spec_has_no_problem():
    """A spec that the API server took is taken here too."""
    spec, problem = readings.read_spec(TrainingJobSpec, a_training_job())
    assert spec is not None
    assert problem == ""


def test_a_problem_names_the_field():
    """What is wrong is said with the path a user would edit."""
    body = a_training_job(spec={**TRAINING_JOB_SPEC, "steps": 0})
    assert readings.read_spec(TrainingJobSpec, body)[1].startswith("spec.steps: ")


def test_a_problem_does_not_repeat_the_value():
    """A prompt that is wrong is not copied into status, events or logs."""
    body = a_training_job(spec={**TRAINING_JOB_SPEC, "validation": {"prompts": ["a secret teapot" * 99]}})
    assert "secret" not in readings.read_spec(TrainingJobSpec, body)[1]


def test_a_status_of_another_shape_is_refused():
    """Starting over from an empty status would train a second time."""
    with pytest.raises(Unreadable, match="one"):
        readings.read_status(TrainingJobStatus, a_training_job(status={"ordinals": "many"}))


def test_a_status_of_a_later_release_is_read_as_far_as_known():
    """A field that this release does not know is not an error."""
    assert readings.read_status(TrainingJobStatus, a_training_job(status={"kept": "1/2", "new": 1})).kept == "1/2"
