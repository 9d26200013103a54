"""Actions: each done twice is done once, and what stands in the way is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.inputs import ControlFile
from atelier_operator import readings
from atelier_operator.cache import Cache
from atelier_operator.edges.actions import Actor
from atelier_operator.edges.resources import CONFIG_MAPS, EVENTS, JOBS, TRAINING_JOBS
from atelier_operator.errors import Conflict, Refused, Unavailable
from atelier_operator.model import (
    CreateJob,
    DeleteConfigMap,
    DeleteJob,
    EmitEvent,
    Key,
    Meta,
    SetFinalizer,
    WriteControl,
)
from fake_cluster import FakeCluster
from operator_bodies import a_child, a_job, a_training_job

ONE = Key("TrainingJob", "team", "one")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def actor(cluster: FakeCluster, cache: Cache) -> Actor:
    return Actor(cluster, cache, lambda: NOW)


@pytest.fixture
def meta(cluster: FakeCluster) -> Meta:
    return readings.read_meta(cluster.put(TRAINING_JOBS, a_training_job())["metadata"])


def creation(name: str = "one-preflight-1", **child: Any) -> CreateJob:
    """The action that creates a Job and its ConfigMap."""
    metadata = a_child(name, **child)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {names.INPUT_FILE: "{}"}}
    return CreateJob(job=job, config_map=config_map)


async def test_the_config_map_is_there_before_the_job(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A pod never starts without its input."""
    await actor.perform(ONE, meta, creation())
    assert [(verb, plural) for verb, plural, _ in cluster.calls] == [("create", "configmaps"), ("create", "jobs")]


async def test_pods_can_be_named_before_they_are_made(actor: Actor, cluster: FakeCluster, meta: Meta):
    """The Service of pods that train together comes before their Job, and a second round finds it there."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": a_child("one-train"), "spec": {"clusterIP": "None"}}
    await actor.perform(ONE, meta, replace(creation("one-train-1"), service=service))
    made = [plural for verb, plural, _ in cluster.calls if verb == "create"]
    assert made == ["configmaps", "services", "jobs"]
    await actor.perform(ONE, meta, replace(creation("one-preflight-2"), service=service))
    assert len([key for key in cluster.objects if key[0] == "services"]) == 1


async def test_a_created_job_is_known_at_once(actor: Actor, cache: Cache, meta: Meta):
    """The next look does not depend on the watch having brought it."""
    await actor.perform(ONE, meta, creation())
    assert [job.name for job in cache.find_jobs(ONE)] == ["one-preflight-1"]


async def test_creating_the_same_again_is_fine(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A crash between creating and recording costs nothing."""
    await actor.perform(ONE, meta, creation())
    await actor.perform(ONE, meta, creation())
    assert len(cluster.objects) == 3


async def test_a_namesake_of_another_owner_is_shown(actor: Actor, cluster: FakeCluster, cache: Cache, meta: Meta):
    """A Job of an earlier object of the same name is not taken for ours."""
    cluster.put(JOBS, a_job("one-preflight-1", owner_uid="earlier-uid"))
    with pytest.raises(Conflict):
        await actor.perform(ONE, meta, creation())
    assert [job.owner_uid for job in cache.find_jobs(ONE)] == ["earlier-uid"]


async def test_a_job_made_from_another_input_is_not_the_same(actor: Actor, cluster: FakeCluster, meta: Meta):
    """The input's digest is part of what is the same."""
    cluster.put(JOBS, a_job("one-preflight-1", digest="other"))
    with pytest.raises(Conflict):
        await actor.perform(ONE, meta, creation())


async def test_an_input_that_no_job_has_read_is_replaced(actor: Actor, cluster: FakeCluster, meta: Meta):
    """An operator lost between a ConfigMap and its Job, and an input that has changed since: ours is made anew."""
    cluster.put(CONFIG_MAPS, {"metadata": a_child("one-preflight-1", digest="earlier"), "data": {}})
    await actor.perform(ONE, meta, creation())
    stored = cluster.objects["configmaps", "team", "one-preflight-1"]
    assert stored["metadata"]["annotations"][names.ANNOTATION_INPUT_DIGEST] == "d"
    assert ("jobs", "team", "one-preflight-1") in cluster.objects


async def test_an_input_that_a_job_reads_stays(actor: Actor, cluster: FakeCluster, meta: Meta):
    """Nobody changes what a pod was told."""
    cluster.put(CONFIG_MAPS, {"metadata": a_child("one-preflight-1", digest="earlier"), "data": {}})
    cluster.put(JOBS, a_job("one-preflight-1", digest="earlier"))
    with pytest.raises(Refused):
        await actor.perform(ONE, meta, creation())
    stored = cluster.objects["configmaps", "team", "one-preflight-1"]
    assert stored["metadata"]["annotations"][names.ANNOTATION_INPUT_DIGEST] == "earlier"


async def test_a_foreign_namesake_without_labels_is_shown(actor: Actor, cluster: FakeCluster, cache: Cache, meta: Meta):
    """No watch tells of it, so it is noted."""
    body = a_job("one-preflight-1")
    body["metadata"].update(labels={}, ownerReferences=[])
    cluster.put(JOBS, body)
    with pytest.raises(Conflict):
        await actor.perform(ONE, meta, creation())
    assert [job.owner_uid for job in cache.find_jobs(ONE)] == [""]


async def test_no_job_is_made_with_a_foreign_config_map(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A pod must not read somebody else's input."""
    foreign = {"kind": "ConfigMap", "metadata": {"name": "one-preflight-1", "namespace": "team"}}
    cluster.put(CONFIG_MAPS, foreign)
    with pytest.raises(Refused, match="ConfigMap one-preflight-1"):
        await actor.perform(ONE, meta, creation())
    assert ("create", "jobs", "one-preflight-1") not in cluster.calls


async def test_a_second_training_job_is_not_made_beside_a_living_one(
    actor: Actor, cluster: FakeCluster, cache: Cache, meta: Meta
):
    """One training pod at a time, even when the cache has lost sight of the first."""
    cluster.put(JOBS, a_job("one-train-1"))
    with pytest.raises(Conflict, match="one-train-1"):
        await actor.perform(ONE, meta, creation("one-train-2"))
    assert [job.name for job in cache.find_jobs(ONE)] == ["one-train-1"]


async def test_an_ended_training_job_is_in_nobodys_way(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A failed first round is followed by a second."""
    cluster.put(JOBS, a_job("one-train-1", status={"conditions": [{"type": "Failed", "status": "True"}]}))
    await actor.perform(ONE, meta, creation("one-train-2"))
    assert ("jobs", "team", "one-train-2") in cluster.objects


async def test_a_job_is_deleted_by_its_uid(actor: Actor, cluster: FakeCluster, cache: Cache, meta: Meta):
    """It is gone from the cluster, and known to be going until its end is seen."""
    cache.take("Job", cluster.put(JOBS, a_job()))
    await actor.perform(ONE, meta, DeleteJob("one-train-1", "one-train-1-uid"))
    assert ("jobs", "team", "one-train-1") not in cluster.objects
    assert cache.find_jobs(ONE)[0].deleted_at == NOW


async def test_a_job_that_is_gone_already_is_forgotten(actor: Actor, cache: Cache, meta: Meta):
    """Deleting twice is deleting once."""
    cache.take("Job", a_job())
    await actor.perform(ONE, meta, DeleteJob("one-train-1", "one-train-1-uid"))
    assert cache.find_jobs(ONE) == ()


async def test_a_later_job_of_the_same_name_is_not_deleted(actor: Actor, cluster: FakeCluster, meta: Meta):
    """The UID decides."""
    cluster.put(JOBS, a_job(uid="later-uid"))
    await actor.perform(ONE, meta, DeleteJob("one-train-1", "one-train-1-uid"))
    assert ("jobs", "team", "one-train-1") in cluster.objects


async def test_a_config_map_is_deleted_once_and_again(actor: Actor, cluster: FakeCluster, meta: Meta):
    """That it is gone already is fine."""
    cluster.put(CONFIG_MAPS, {"metadata": {"name": "one-collect", "namespace": "team"}})
    for _ in range(2):
        await actor.perform(ONE, meta, DeleteConfigMap("one-collect"))
    assert ("configmaps", "team", "one-collect") not in cluster.objects


async def test_control_is_written_once(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A look that asks again writes nothing."""
    cluster.put(CONFIG_MAPS, {"metadata": a_child("one-train-1"), "data": {names.INPUT_FILE: "{}"}})
    for _ in range(2):
        await actor.perform(ONE, meta, WriteControl("one-train-1", ControlFile(stop=True)))
    data = cluster.objects["configmaps", "team", "one-train-1"]["data"]
    assert ControlFile.from_bytes(data[names.CONTROL_FILE].encode()).stop
    assert len(cluster.list_writes()) == 1


async def test_control_of_a_foreign_config_map_is_left_alone(actor: Actor, cluster: FakeCluster, meta: Meta):
    """Only our own children are written to."""
    cluster.put(CONFIG_MAPS, {"metadata": a_child("one-train-1", owner_uid="earlier-uid"), "data": {}})
    await actor.perform(ONE, meta, WriteControl("one-train-1", ControlFile(stop=True)))
    assert cluster.list_writes() == []


async def test_a_finalizer_is_set_beside_others(actor: Actor, cluster: FakeCluster):
    """Other programs' finalizers stay."""
    body = a_training_job()
    body["metadata"]["finalizers"] = ["example.com/other"]
    meta = readings.read_meta(cluster.put(TRAINING_JOBS, body)["metadata"])
    version = await actor.perform(ONE, meta, SetFinalizer(present=True))
    stored = cluster.objects["trainingjobs", "team", "one"]["metadata"]
    assert stored["finalizers"] == ["example.com/other", names.FINALIZER]
    assert stored["resourceVersion"] == version


async def test_a_finalizer_that_is_there_is_not_written(actor: Actor, cluster: FakeCluster, meta: Meta):
    """Nothing to do, nothing done."""
    held = replace(meta, finalizers=(names.FINALIZER,))
    assert await actor.perform(ONE, held, SetFinalizer(present=True)) == meta.resource_version
    assert cluster.list_writes() == []


async def test_a_finalizer_is_not_set_on_an_object_that_has_changed(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A list is replaced as a whole, so it must be the list that was seen."""
    cluster.edit(TRAINING_JOBS, "team", "one", {"metadata": {"finalizers": ["example.com/other"]}})
    with pytest.raises(Conflict):
        await actor.perform(ONE, meta, SetFinalizer(present=True))


async def test_an_event_is_said_once(actor: Actor, cluster: FakeCluster, meta: Meta):
    """The same words of the same object are one Event."""
    for _ in range(2):
        await actor.perform(ONE, meta, EmitEvent("Normal", "TrainingComplete", "trained 2000 steps"))
    assert len([key for key in cluster.objects if key[0] == EVENTS.plural]) == 1


async def test_an_event_is_not_repeated_after_a_restart(cluster: FakeCluster, meta: Meta):
    """Another operator that says the same words says nothing new."""
    for _ in range(2):
        actor = Actor(cluster, Cache(), lambda: NOW)
        await actor.perform(ONE, meta, EmitEvent("Normal", "TrainingComplete", "trained 2000 steps"))
    assert len([key for key in cluster.objects if key[0] == EVENTS.plural]) == 1


async def test_an_event_that_may_not_be_said_stops_nothing(actor: Actor, cluster: FakeCluster, meta: Meta):
    """A namespace that ends takes no Events; the work goes on."""
    cluster.before_call = lambda verb, plural, _: Refused("ending") if plural == EVENTS.plural else None
    version = await actor.perform(ONE, meta, EmitEvent("Warning", "PrefixLeft", "runs/one"))
    assert version == meta.resource_version


async def test_an_event_without_an_answer_is_said_again(actor: Actor, cluster: FakeCluster, meta: Meta):
    """Only what arrived counts as said."""
    cluster.before_call = lambda *_: Unavailable("away")
    with pytest.raises(Unavailable):
        await actor.perform(ONE, meta, EmitEvent("Normal", "TrainingComplete", "trained"))
    cluster.before_call = lambda *_: None
    await actor.perform(ONE, meta, EmitEvent("Normal", "TrainingComplete", "trained"))
    assert any(key[0] == EVENTS.plural for key in cluster.objects)
