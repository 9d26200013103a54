"""Views: what a decision gets to see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atelier_operator.cache import Cache
from atelier_operator.edges.resources import JOBS, NAMESPACES, NODES
from atelier_operator.errors import Unreadable
from atelier_operator.model import DatasetView, Key, TrainingJobView
from atelier_operator.observe import Heard, Observer
from atelier_operator.settings import read_settings
from fake_cluster import FakeCluster
from operator_bodies import TRAINING_JOB_SPEC, a_dataset, a_job, a_pod, a_template, a_training_job

ONE, TEAPOTS = Key("TrainingJob", "team", "one"), Key("Dataset", "team", "teapots")
UNHEARD = Heard()
STARTED = datetime(2026, 11, 23, tzinfo=UTC)


class Setting:
    """An observer and what it works with."""

    def __init__(self) -> None:
        self.cluster, self.cache, self.now = FakeCluster(), Cache(), STARTED
        settings = read_settings({"ATELIER_TRAINER_IMAGE": "atelier/trainer"})
        self.observer = Observer(self.cluster, self.cache, settings, lambda: self.now)
        for name in ("kube-system", "team"):
            self.cluster.put(NAMESPACES, {"metadata": {"name": name, "uid": f"{name}-uid"}})

    def take(self, kind: str, body: dict[str, Any]) -> None:
        self.cache.take(kind, body)

    async def observe(self, key: Key = ONE, heard: Heard = UNHEARD) -> Any:
        return await self.observer.observe(key, heard)

    def count(self, verb: str, plural: str) -> int:
        return sum(1 for call in self.cluster.calls if call[:2] == (verb, plural))


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_what_is_gone_has_no_view(setting: Setting):
    """A key may outlive its object."""
    assert await setting.observe() is None


async def test_a_training_job_is_seen_with_its_dataset_and_jobs(setting: Setting):
    """One view holds everything a decision needs."""
    setting.take("TrainingJob", a_training_job())
    setting.take("Dataset", a_dataset(status={"revision": "ab"}))
    setting.take("Job", a_job())
    view = await setting.observe()
    assert isinstance(view, TrainingJobView)
    assert (view.dataset.status.revision, [job.name for job in view.jobs]) == ("ab", ["one-train-1"])


async def test_a_dataset_is_seen_as_one(setting: Setting):
    """The other kind has its own view."""
    setting.take("Dataset", a_dataset())
    assert isinstance(await setting.observe(TEAPOTS), DatasetView)


async def test_a_named_template_is_seen(setting: Setting):
    """Settings come out of it."""
    setting.take("TrainingTemplate", a_template())
    setting.take("TrainingJob", a_training_job(spec={**TRAINING_JOB_SPEC, "templateRef": {"name": "object"}}))
    assert (await setting.observe()).template.recipes[0].steps == 500


async def test_a_template_that_is_not_named_is_not_seen(setting: Setting):
    """A template applies only where it is asked for."""
    setting.take("TrainingTemplate", a_template())
    setting.take("TrainingJob", a_training_job())
    assert (await setting.observe()).template is None


async def test_a_spec_that_cannot_be_read_is_a_problem(setting: Setting):
    """The user is told which field; nothing is guessed."""
    setting.take("TrainingJob", a_training_job(spec={**TRAINING_JOB_SPEC, "steps": 0}))
    view = await setting.observe()
    assert (view.spec, view.problem[:10]) == (None, "spec.steps")


async def test_a_status_that_cannot_be_read_stops_everything(setting: Setting):
    """Better nothing than a second training."""
    setting.take("TrainingJob", a_training_job(status={"ordinals": "many"}))
    with pytest.raises(Unreadable):
        await setting.observe()


async def test_what_was_heard_is_in_the_view(setting: Setting):
    """A refusal of the API server reaches the decision."""
    setting.take("TrainingJob", a_training_job())
    assert (await setting.observe(heard=Heard(refused="quota exceeded"))).refused == "quota exceeded"


async def test_cluster_and_namespace_are_identified(setting: Setting):
    """Who owns a store follows from both."""
    setting.take("TrainingJob", a_training_job())
    surroundings = (await setting.observe()).surroundings
    assert (surroundings.cluster_uid, surroundings.namespace_uid) == ("kube-system-uid", "team-uid")


async def test_namespaces_are_asked_for_seldom(setting: Setting):
    """Five hundred jobs of one namespace cost two questions."""
    for number in range(5):
        setting.take("TrainingJob", a_training_job(f"job-{number}"))
        await setting.observe(Key("TrainingJob", "team", f"job-{number}"))
    assert setting.count("get", "namespaces") == 2


async def test_the_namespace_of_a_deleted_object_is_asked_for_anew(setting: Setting):
    """It may be ending too, and then nothing can be created in it any more."""
    setting.take("TrainingJob", a_training_job())
    await setting.observe()
    setting.cluster.edit(
        NAMESPACES, "", "team", {"metadata": {"deletionTimestamp": "2026-11-23T00:00:00Z", "finalizers": ["x"]}}
    )
    body = a_training_job(version=11)
    body["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    setting.take("TrainingJob", body)
    assert (await setting.observe()).surroundings.namespace_terminating


def a_dying_pod() -> dict[str, Any]:
    body = a_pod()
    body["metadata"]["deletionTimestamp"] = "2026-11-23T00:02:00Z"
    return body


@pytest.mark.parametrize(("conditions", "ready"), [([{"type": "Ready", "status": "True"}], True), ([], False)])
async def test_the_node_of_an_overdue_pod_is_looked_at(setting: Setting, conditions: list, ready: bool):
    """A pod that ought to have ended may lie on a lost node."""
    setting.cluster.put(NODES, {"metadata": {"name": "node-1"}, "status": {"conditions": conditions}})
    for kind, body in (("TrainingJob", a_training_job()), ("Job", a_job()), ("Pod", a_dying_pod())):
        setting.take(kind, body)
    setting.now = STARTED + timedelta(minutes=3)
    assert (await setting.observe()).jobs[0].pods[0].node_ready is ready


async def test_a_node_that_is_gone_is_not_ready(setting: Setting):
    """A machine that was taken out of the cluster is lost for good."""
    for kind, body in (("TrainingJob", a_training_job()), ("Pod", a_dying_pod())):
        setting.take(kind, body)
    setting.now = STARTED + timedelta(minutes=3)
    assert (await setting.observe()).orphans[0].node_ready is False


async def test_the_node_of_a_pod_within_its_grace_is_not_asked_for(setting: Setting):
    """An ordinary end costs no question."""
    for kind, body in (("TrainingJob", a_training_job()), ("Job", a_job()), ("Pod", a_dying_pod())):
        setting.take(kind, body)
    assert (await setting.observe()).jobs[0].pods[0].node_ready is None
    assert setting.count("get", "nodes") == 0


async def test_a_namesake_without_labels_is_forgotten_when_it_is_gone(setting: Setting):
    """No event tells of its end, so it is asked for at each look."""
    setting.take("TrainingJob", a_training_job())
    foreign = a_job()
    foreign["metadata"].update(labels={}, ownerReferences=[])
    setting.cache.note_namesake(ONE, setting.cluster.put(JOBS, foreign))
    assert len((await setting.observe()).jobs) == 1
    await setting.cluster.delete(JOBS, "team", "one-train-1")
    assert (await setting.observe()).jobs == ()
