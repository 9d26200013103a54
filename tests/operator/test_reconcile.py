"""The look: observe, decide, act, write the status once; and what becomes of every error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator import readings
from atelier_operator.cache import Cache
from atelier_operator.edges.actions import Actor
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.resources import JOBS, NAMESPACES, TRAINING_JOBS
from atelier_operator.errors import OperatorError, Refused, Unavailable
from atelier_operator.model import CreateJob, Key, Plan, SetFinalizer, TrainingJobView
from atelier_operator.observe import Observer
from atelier_operator.polling import Poller
from atelier_operator.queue import Queue
from atelier_operator.reconcile import Parts, Reconciler
from atelier_operator.settings import read_settings
from fake_cluster import FakeCluster
from operator_bodies import a_child, a_pod, a_training_job

ONE = Key("TrainingJob", "team", "one")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
POD = readings.read_pod(a_pod())
CREATION = CreateJob(
    job={"metadata": a_child("one-preflight-1"), "spec": {}},
    config_map={"metadata": a_child("one-preflight-1"), "data": {}},
)


class Silence:
    """Pods that are asked and never answer."""

    async def ask(self, _: Any) -> Any:
        raise AssertionError("nobody is asked in these tests")


class Setting:
    """A reconciler whose decisions the test makes."""

    def __init__(self) -> None:
        self.cluster, self.cache, self.seconds = FakeCluster(), Cache(), 0.0
        self.queue = Queue(lambda: self.seconds)
        self.views: list[TrainingJobView] = []
        self.decide: Callable[[TrainingJobView], Plan] = lambda view: Plan(view.status)
        settings = read_settings({"ATELIER_TRAINER_IMAGE": "atelier/trainer"})
        self.poller = Poller(Silence(), self.queue.mark)
        self.metrics = Metrics()
        self.parts = Parts(
            cluster=self.cluster,
            cache=self.cache,
            queue=self.queue,
            observer=Observer(self.cluster, self.cache, settings, lambda: NOW),
            actor=Actor(self.cluster, self.cache, lambda: NOW),
            poller=self.poller,
            metrics=self.metrics,
            deciders={"TrainingJob": self._decide},
            now=lambda: NOW,
            steady_seconds=lambda: self.seconds,
        )
        self.reconciler = Reconciler(self.parts)
        for name in ("kube-system", "team"):
            self.cluster.put(NAMESPACES, {"metadata": {"name": name}})
        self.cache.take("TrainingJob", self.cluster.put(TRAINING_JOBS, a_training_job()))

    def _decide(self, view: TrainingJobView, _: datetime) -> Plan:
        self.views.append(view)
        return self.decide(view)

    async def look(self) -> None:
        self.queue.mark(ONE)
        await self.queue.take()
        await self.reconciler.look(ONE)

    def read_status(self) -> dict[str, Any]:
        return self.cluster.objects["trainingjobs", "team", "one"].get("status", {})

    def is_due_within(self, seconds: float) -> bool:
        return self.queue._due.get(ONE, float("inf")) <= self.seconds + seconds

    def say(self, kept: str, *actions: Any, **plan: Any) -> None:
        """Decide from now on to write this, and to do that."""
        self.decide = lambda view: Plan(
            view.status.model_copy(update={"kept": kept + view.refused}), actions=actions, **plan
        )


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_a_status_is_written(setting: Setting):
    """What was decided can be read."""
    setting.say("1/2")
    await setting.look()
    assert setting.read_status()["kept"] == "1/2"


async def test_an_equal_status_is_not_written(setting: Setting):
    """A look that finds nothing new costs no write."""
    setting.say("1/2")
    await setting.look()
    writes = len(setting.cluster.list_writes())
    await setting.look()
    assert len(setting.cluster.list_writes()) == writes


async def test_our_own_status_is_seen_by_the_next_look(setting: Setting):
    """Without waiting for the watch to bring it."""
    setting.say("1/2")
    await setting.look()
    await setting.look()
    assert setting.views[-1].status == TrainingJobStatus(kept="1/2", conditions=[])


async def test_actions_come_before_the_status(setting: Setting):
    """A status never speaks of a Job that could not be made."""
    setting.say("1/2", CREATION)
    await setting.look()
    assert [plural for _, plural, _ in setting.cluster.list_writes()] == ["configmaps", "jobs", "trainingjobs"]


async def test_an_intent_is_on_record_before_it_is_acted_on(setting: Setting):
    """`write_status_first` is honoured: what must be known after a crash is written before."""
    setting.say("1/2", CREATION, write_status_first=True)
    await setting.look()
    assert [plural for _, plural, _ in setting.cluster.list_writes()] == ["trainingjobs", "configmaps", "jobs"]


async def test_a_status_after_a_finalizer_carries_the_new_version(setting: Setting):
    """Our own write of the object does not make our own status stale."""
    setting.say("1/2", SetFinalizer(present=True))
    await setting.look()
    assert setting.read_status()["kept"] == "1/2"
    assert len(setting.views) == 1


async def test_a_stale_look_is_repeated_on_what_is_there_now(setting: Setting):
    """An edit between observing and writing is seen, not overwritten."""
    setting.cluster.edit(TRAINING_JOBS, "team", "one", {"spec": {"suspend": True}})
    setting.decide = lambda view: Plan(view.status.model_copy(update={"kept": str(view.spec.suspend)}))
    await setting.look()
    assert setting.read_status()["kept"] == "True"


async def test_an_object_that_is_gone_is_forgotten(setting: Setting):
    """A status for nobody is no error."""
    await setting.cluster.delete(TRAINING_JOBS, "team", "one")
    setting.say("1/2")
    await setting.look()
    assert list(setting.cache.list_keys()) == []
    assert not setting.is_due_within(3600)


async def test_a_refusal_is_shown_and_tried_again(setting: Setting):
    """Quota, policy or rights: the API server's own words are in the status, and the pause is short at first."""
    setting.cluster.before_call = lambda verb, plural, _: (
        Refused(" quota") if (verb, plural) == ("create", "jobs") else None
    )
    setting.say("1/2", CREATION)
    await setting.look()
    assert setting.read_status()["kept"] == "1/2 quota"
    assert setting.is_due_within(1)


async def test_a_refusal_is_forgotten_at_the_next_success(setting: Setting):
    """The status is clean again."""
    setting.cluster.before_call = lambda verb, plural, _: (
        Refused(" quota") if (verb, plural) == ("create", "jobs") else None
    )
    setting.say("1/2", CREATION)
    await setting.look()
    setting.cluster.before_call = lambda *_: None
    await setting.look()
    await setting.look()
    assert setting.read_status()["kept"] == "1/2"


@pytest.mark.parametrize("error", [Unavailable("away"), Refused("no rights")])
async def test_an_error_is_tried_again_after_a_pause(setting: Setting, error: OperatorError):
    """Nothing is lost when the API server is away or says no."""
    setting.cluster.before_call = lambda *_: error
    setting.say("1/2")
    await setting.look()
    assert not setting.is_due_within(0)
    assert setting.is_due_within(1)


async def test_the_api_server_may_ask_for_a_longer_pause(setting: Setting):
    """Retry-After is honoured."""
    setting.cluster.before_call = lambda *_: Unavailable("busy", retry_after_seconds=30)
    setting.say("1/2")
    await setting.look()
    assert not setting.is_due_within(29)


async def test_a_bug_in_one_decision_stops_only_its_object(setting: Setting, caplog: pytest.LogCaptureFixture):
    """It is logged with its trace, counted, and tried again later."""

    def fail(_: TrainingJobView) -> Plan:
        raise ZeroDivisionError

    setting.decide = fail
    await setting.look()
    assert setting.is_due_within(1)
    assert "ZeroDivisionError" in caplog.text
    assert (
        b'atelier_reconcile_errors_total{error="ZeroDivisionError",kind="TrainingJob"} 1.0' in setting.metrics.to_text()
    )


async def test_a_plan_says_when_to_look_again(setting: Setting):
    """A deadline is looked at when it comes, without an event."""
    setting.decide = lambda view: Plan(view.status, look_again_seconds=60)
    await setting.look()
    assert not setting.is_due_within(59)
    assert setting.is_due_within(60)


async def test_a_plan_without_a_time_waits_for_events(setting: Setting):
    """An idle object costs nothing."""
    await setting.look()
    assert not setting.is_due_within(1e9)


async def test_the_pod_that_a_plan_names_is_asked(setting: Setting):
    """And nobody else; when no plan names it any more it is left alone."""
    setting.decide = lambda view: Plan(view.status, ask_pod=replace(POD, ip="127.0.0.1"))
    await setting.look()
    assert list(setting.poller._followed) == [ONE]
    setting.decide = lambda view: Plan(view.status)
    await setting.look()
    assert not setting.poller._followed


async def test_a_created_job_is_in_the_next_view(setting: Setting):
    """No second Job because the watch is late."""
    setting.say("1/2", CREATION)
    await setting.look()
    await setting.look()
    assert [job.name for job in setting.views[-1].jobs] == ["one-preflight-1"]
    assert sum(1 for key in setting.cluster.objects if key[0] == JOBS.plural) == 1


async def test_states_are_counted_by_kind(setting: Setting):
    """A monitor sees how many objects are in which state, and no object's name."""
    setting.decide = lambda view: Plan(view.status, labels={"state": "Training"})
    await setting.look()
    (gauge,) = setting.reconciler.collect_gauges()
    assert [(sample.labels, sample.value) for sample in gauge.samples] == [
        ({"kind": "TrainingJob", "state": "Training"}, 1)
    ]
