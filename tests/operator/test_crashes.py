"""The operator is lost after each of its writes in turn, and another takes over: nothing is done twice or left out.

The decisions are the real ones; the cluster is the fake, because only there can the answer to a chosen write be lost.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import (
    CollectResult,
    PreflightResult,
    PublishedRow,
    PublishResult,
    TerminationReport,
    TrainResult,
)
from atelier_operator.audit import Auditor
from atelier_operator.cache import Cache
from atelier_operator.edges.actions import Actor
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.resources import CONFIG_MAPS, DATASETS, JOBS, NAMESPACES, PODS, TRAINING_JOBS
from atelier_operator.model import Key
from atelier_operator.observe import Observer
from atelier_operator.plan import decide_training_job
from atelier_operator.polling import Poller
from atelier_operator.queue import Queue
from atelier_operator.reconcile import Parts, Reconciler
from atelier_operator.settings import read_settings
from fake_cluster import Crash, FakeCluster
from operator_bodies import CREATED_AT, TRAINING_JOB_SPEC, a_dataset, a_training_job

ONE = Key("TrainingJob", "team", "one")
SHA = "0123456789abcdef"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
READY = {"type": "Ready", "status": "True", "reason": "Inspected", "lastTransitionTime": CREATED_AT}
DATASET_STATUS = {"revision": "ab" * 32, "items": 24, "captioned": 24, "usableFor": ["ConceptModel"]}
WRITES = 19
"""Of a whole life: four Jobs with what belongs to them, the finalizer, and what status says between."""


class Silence:
    """Pods that are never asked: none runs here."""

    async def ask(self, _: Any) -> Any:
        raise AssertionError("no pod runs in these tests")


class Story:
    """The life of a TrainingJob, and the operators that look after it one after the other."""

    def __init__(self, crash_after_writes: int) -> None:
        self.cluster = FakeCluster()
        self.cluster.crash_after_writes = crash_after_writes
        for name in ("kube-system", "team"):
            self.cluster.put(NAMESPACES, {"metadata": {"name": name}})
        self.cluster.put(DATASETS, a_dataset(status={**DATASET_STATUS, "observedGeneration": 1, "conditions": [READY]}))
        spec = {**TRAINING_JOB_SPEC, "deletionPolicy": "Delete"}
        self.cluster.put(TRAINING_JOBS, a_training_job(spec=spec))
        self.now = NOW
        self.crashed = False

    async def look_until_quiet(self) -> None:
        """Let an operator look until it writes nothing more; when it is lost, another begins with an empty memory."""
        try:
            await self._look_as_one()
        except Crash:
            self.crashed = True
            self.cluster.crash_after_writes = 0
            await self._look_as_one()

    async def _look_as_one(self) -> None:
        cache, due = Cache(), Queue(lambda: 0.0)
        settings = read_settings({names.ENV_TRAINER_IMAGE: "atelier/trainer"})
        parts = Parts(
            cluster=self.cluster,
            cache=cache,
            queue=due,
            observer=Observer(self.cluster, cache, settings, lambda: self.now),
            actor=Actor(self.cluster, cache, lambda: self.now),
            poller=Poller(Silence(), due.mark),
            metrics=Metrics(),
            deciders={"TrainingJob": decide_training_job.decide},
            now=lambda: self.now,
            steady_seconds=lambda: 0.0,
        )
        await Auditor(self.cluster, cache, due, (), lambda: 0.0).fill()
        reconciler, writes = Reconciler(parts), -1
        while writes != len(self.cluster.list_writes()):
            writes = len(self.cluster.list_writes())
            due.mark(ONE)
            assert await due.take() in {ONE, Key("Dataset", "team", "teapots")}
            await reconciler.look(ONE)
            self.now += timedelta(seconds=1)

    def end_job(self, role: Role, **result: Any) -> None:
        """Let the role's pod end well, with these results as its last words, as its node would tell."""
        (job,) = [
            body for key, body in self.cluster.objects.items() if key[0] == JOBS.plural and f"-{role.value}-" in key[2]
        ]
        name = job["metadata"]["name"]
        words = TerminationReport(role=role, reason=Reason.COMPLETED, **result)
        ended = {"exitCode": 0, "startedAt": CREATED_AT, "finishedAt": CREATED_AT, "message": words.to_message()}
        owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
        metadata = {"name": f"{name}-x", "namespace": "team", "uid": f"{role.value}-pod", "ownerReferences": [owner]}
        containers = [{"name": names.CONTAINER, "state": {"terminated": ended}}]
        body = {"metadata": {**metadata, "labels": job["metadata"]["labels"]}, "spec": {}}
        self.cluster.put(PODS, {**body, "status": {"phase": "Succeeded", "containerStatuses": containers}})
        complete = {"conditions": [{"type": "Complete", "status": "True"}]}
        self.cluster.edit(JOBS, "team", name, {"status": complete})

    async def run(self) -> None:
        """Go from the object's creation to its end, with a user who selects one of two checkpoints."""
        await self.look_until_quiet()
        identity = self.cluster.objects["trainingjobs", "team", "one"]["status"]["runIdentity"]
        self.end_job(Role.PREFLIGHT, preflight=PreflightResult(run_identity=identity))
        await self.look_until_quiet()
        trained = TrainResult(attempt="train-pod", to_step=2000, complete=True)
        self.end_job(Role.TRAIN, train=trained, rows=[(step, 100, SHA, 0.1, 4) for step in (1000, 2000)])
        await self.look_until_quiet()
        selection = {"checkpoints": ["step-001000"], "finalize": True}
        self.cluster.edit(TRAINING_JOBS, "team", "one", {"spec": {"selection": selection}})
        await self.look_until_quiet()
        self.end_job(Role.PUBLISH, publish=PublishResult(models=[PublishedRow(step=1000, sha256=SHA, bytes=90)]))
        await self.look_until_quiet()
        self.now = NOW + timedelta(hours=1)
        await self.look_until_quiet()
        self.end_job(Role.COLLECT, collect=CollectResult(steps=[2000], reclaimed_bytes=100))
        await self.look_until_quiet()

    def tell(self) -> dict[str, Any]:
        """What is left when all is quiet, without times and versions."""
        status = self.cluster.objects["trainingjobs", "team", "one"]["status"]
        plurals = (JOBS.plural, CONFIG_MAPS.plural, "networkpolicies", "events")
        return {
            "objects": sorted(key for key in self.cluster.objects if key[0] in plurals and key[0] != "events"),
            "finalizers": self.cluster.objects["trainingjobs", "team", "one"]["metadata"].get("finalizers"),
            "conditions": [(c["type"], c["status"], c["reason"]) for c in status["conditions"]],
            "ordinals": status.get("ordinals"),
            "checkpoints": [(row["name"], row["state"]) for row in status["checkpoints"]],
            "models": status["models"],
            "attempts": status["attempts"],
            "identity": status["runIdentity"],
            "created": sorted(call[2] for call in self.cluster.calls if call[:2] == ("create", "jobs")),
        }


async def tell_undisturbed() -> tuple[dict[str, Any], int]:
    story = Story(crash_after_writes=0)
    await story.run()
    return story.tell(), len(story.cluster.list_writes())


async def test_the_story_reaches_its_end():
    """What the other tests compare with is a whole life, from preflight to what was collected."""
    told, _ = await tell_undisturbed()
    assert ("Finalized", "True") in [condition[:2] for condition in told["conditions"]]
    assert told["checkpoints"] == [("step-001000", "Published"), ("step-002000", "Deleted")]


async def test_every_write_of_the_story_is_crashed_after():
    """The numbers that the next test goes through are all there are."""
    _, writes = await tell_undisturbed()
    assert writes == WRITES


@pytest.mark.parametrize("writes", range(1, WRITES + 1))
async def test_a_crash_after_any_write_changes_nothing(writes: int):
    """The same objects and the same status; what was asked for twice had the same name, and was one."""
    undisturbed, _ = await tell_undisturbed()
    story = Story(crash_after_writes=writes)
    await story.run()
    assert story.crashed
    told = story.tell()
    repeated, once = told.pop("created"), undisturbed.pop("created")
    assert told == undisturbed
    assert sorted(set(repeated)) == once
