"""What the operator remembers: newest wins, and every event finds the keys it concerns."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atelier_contract.roles import Role
from atelier_operator.cache import Cache, is_newer
from atelier_operator.model import Key
from operator_bodies import a_dataset, a_job, a_pod, a_template, a_training_job, child_labels

ONE = Key("TrainingJob", "team", "one")
TEAPOTS = Key("Dataset", "team", "teapots")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_an_event_concerns_its_own_object(cache: Cache):
    """A new TrainingJob's key is due."""
    assert cache.take("TrainingJob", a_training_job()) == (ONE,)


@pytest.mark.parametrize("version", [9, 10])
def test_an_old_event_concerns_nobody(cache: Cache, version: int):
    """An event of the version we wrote ourselves, or of an older one, wakes nobody."""
    cache.take("TrainingJob", a_training_job(version=10))
    assert cache.take("TrainingJob", a_training_job(version=version)) == ()


def test_an_old_event_does_not_replace_what_we_wrote(cache: Cache):
    """We read our own writes, whatever the watch brings late."""
    cache.take("TrainingJob", a_training_job(version=11, status={"kept": "2/10"}))
    cache.take("TrainingJob", a_training_job(version=10))
    assert cache.find(ONE)["status"] == {"kept": "2/10"}


def test_a_deleted_object_is_forgotten(cache: Cache):
    """Its key is due once more, to be forgotten there too."""
    cache.take("TrainingJob", a_training_job())
    assert cache.take("TrainingJob", a_training_job(version=11), gone=True) == (ONE,)
    assert cache.find(ONE) is None


def test_a_late_deletion_of_an_earlier_object_changes_nothing(cache: Cache):
    """A re-created object survives the late news of its predecessor's end."""
    cache.take("TrainingJob", a_training_job(version=20))
    earlier = a_training_job(version=15)
    earlier["metadata"]["uid"] = "earlier-uid"
    cache.take("TrainingJob", earlier, gone=True)
    assert cache.find(ONE) is not None


def test_what_kubectl_remembers_is_not_kept(cache: Cache):
    """The copy of the whole object in kubectl's annotation takes no memory."""
    body = a_training_job()
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "yes"}
    cache.take("TrainingJob", body)
    assert cache.find(ONE)["metadata"]["annotations"] == {"mine": "yes"}


def test_a_dataset_concerns_the_jobs_that_name_it(cache: Cache):
    """A job that waits for its dataset is woken by it."""
    cache.take("TrainingJob", a_training_job())
    assert set(cache.take("Dataset", a_dataset())) == {TEAPOTS, ONE}


def test_a_dataset_concerns_the_jobs_whose_prior_pictures_it_holds(cache: Cache):
    """A job that waits for its prior pictures is woken by their dataset."""
    body = a_training_job()
    prior = {"conceptModel": {"priorPreservation": {"datasetRef": {"name": "teapots"}}}, "datasetRef": {"name": "own"}}
    cache.take("TrainingJob", {**body, "spec": {**body["spec"], **prior}})
    assert set(cache.take("Dataset", a_dataset())) == {TEAPOTS, ONE}


@pytest.mark.parametrize("block", [None, "text", [], {"priorPreservation": "text"}, {"priorPreservation": {}}])
def test_a_spec_of_any_shape_is_kept(cache: Cache, block: object):
    """An object that another version of the schema let through is kept: the look at it says what is wrong."""
    body = a_training_job()
    cache.take("TrainingJob", {**body, "spec": {**body["spec"], "conceptModel": block}})
    assert cache.find(ONE) is not None


def test_a_dataset_does_not_concern_jobs_of_other_namespaces(cache: Cache):
    """References stay within the namespace."""
    cache.take("TrainingJob", a_training_job(namespace="others"))
    assert cache.take("Dataset", a_dataset()) == (TEAPOTS,)


def test_a_dataset_does_not_concern_ended_runs(cache: Cache):
    """A thousand finished jobs are not looked at because their dataset grew."""
    cache.take("TrainingJob", a_training_job(status={"completionTime": "2026-11-23T00:00:00Z"}))
    assert cache.take("Dataset", a_dataset()) == (TEAPOTS,)


def test_a_template_concerns_the_jobs_that_name_it(cache: Cache):
    """A job that waits for its template is woken by it."""
    body = a_training_job()
    cache.take("TrainingJob", {**body, "spec": {**body["spec"], "templateRef": {"name": "object"}}})
    assert cache.take("TrainingTemplate", a_template()) == (ONE,)


def test_a_deleted_template_is_not_found(cache: Cache):
    """A template that is gone is not there."""
    cache.take("TrainingTemplate", a_template())
    cache.take("TrainingTemplate", a_template(), gone=True)
    assert cache.find_template("object") is None


def test_a_child_concerns_the_object_its_labels_name(cache: Cache):
    """Jobs and pods wake the object they serve."""
    assert cache.take("Job", a_job()) == cache.take("Pod", a_pod()) == (ONE,)


def test_a_job_without_our_labels_concerns_nobody(cache: Cache):
    """Other people's Jobs are none of our business."""
    body = a_job()
    body["metadata"]["labels"] = {}
    assert cache.take("Job", body) == ()


def test_jobs_are_found_with_their_pods(cache: Cache):
    """A pod belongs to the Job that controls it, whichever came first."""
    cache.take("Pod", a_pod())
    cache.take("Job", a_job())
    (job,) = cache.find_jobs(ONE)
    assert [pod.name for pod in job.pods] == ["one-train-1-x"]


def test_a_training_pod_without_its_job_is_an_orphan(cache: Cache):
    """A Job deleted in the background leaves at once; its pod is still at work and still known."""
    cache.take("Job", a_job())
    cache.take("Pod", a_pod())
    cache.take("Job", a_job(), gone=True)
    assert [pod.name for pod in cache.find_orphans(ONE, "one-uid")] == ["one-train-1-x"]


def test_a_pod_of_an_earlier_object_is_no_orphan_of_ours(cache: Cache):
    """A re-created object does not wait for its predecessor's pods."""
    cache.take("Pod", a_pod())
    assert cache.find_orphans(ONE, "another-uid") == ()


def test_a_pod_of_a_short_job_is_no_orphan(cache: Cache):
    """Only training pods are fenced."""
    body = a_pod()
    body["metadata"]["labels"] = child_labels(role=Role.PREFLIGHT)
    cache.take("Pod", body)
    assert cache.find_orphans(ONE, "one-uid") == ()


def test_a_job_we_deleted_stays_deleted_whatever_comes_late(cache: Cache):
    """An event from before its deletion does not make a Job look alive again."""
    cache.take("Job", a_job(version=20))
    cache.mark_deleting("one-train-1-uid", NOW)
    cache.take("Job", a_job(version=21))
    assert cache.find_jobs(ONE)[0].deleted_at == NOW


def test_a_noted_namesake_is_found_though_it_has_no_label(cache: Cache):
    """What stands in the way is shown to the decision."""
    body = a_job()
    body["metadata"].update(labels={}, ownerReferences=[])
    cache.note_namesake(ONE, body)
    assert [job.owner_uid for job in cache.find_jobs(ONE)] == [""]
    assert cache.find_unwatched(ONE) == (("one-train-1", "one-train-1-uid"),)


def test_nothing_of_a_child_is_left_when_it_is_gone(cache: Cache):
    """Memory does not grow with the number of Jobs there ever were."""
    cache.take("Job", a_job())
    cache.take("Pod", a_pod())
    cache.take("Pod", a_pod(), gone=True)
    cache.take("Job", a_job(), gone=True)
    assert (cache._children, dict(cache._of_key), dict(cache._of_job)) == ({}, {}, {})


@pytest.mark.parametrize(("kind", "body"), [("Job", a_job()), ("Pod", a_pod()), ("Dataset", a_dataset())])
def test_what_a_list_shows_to_be_gone_is_forgotten(cache: Cache, kind: str, body: dict):
    """A deletion that no event told of is made good."""
    cache.take(kind, body)
    assert cache.forget(kind, body["metadata"]["uid"]) != ()
    assert cache.versions(kind) == {}


@pytest.mark.parametrize(
    ("version", "than", "newer"), [("10", "9", True), ("9", "10", False), ("9", "9", False), ("b", "a", True)]
)
def test_versions_are_compared_as_numbers(version: str, than: str, newer: bool):
    """10 is newer than 9, although not as text; versions that are no numbers differ or not."""
    assert is_newer(version, than) is newer
