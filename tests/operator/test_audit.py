"""Comparing the cache with the API server: what watches lose is made good and noticed."""

from __future__ import annotations

import pytest

from atelier_operator.audit import Auditor
from atelier_operator.cache import Cache
from atelier_operator.edges.resources import JOBS, TRAINING_JOBS
from atelier_operator.errors import Unavailable
from atelier_operator.model import Key
from atelier_operator.queue import Queue
from fake_cluster import FakeCluster
from operator_bodies import a_job, a_training_job

ONE = Key("TrainingJob", "team", "one")


class Setting:
    """An auditor and what it works with."""

    def __init__(self, *namespaces: str) -> None:
        self.cluster, self.cache = FakeCluster(), Cache()
        self.queue = Queue(lambda: 0.0)
        self.auditor = Auditor(self.cluster, self.cache, self.queue, namespaces, lambda: 0.0)

    async def compare(self) -> int:
        return await self.auditor.compare(JOBS, settle_seconds=0)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_filling_knows_and_marks_everything(setting: Setting):
    """After a restart every object is looked at once."""
    for number in range(5):
        setting.cluster.put(TRAINING_JOBS, a_training_job(f"job-{number}"))
    await setting.auditor.fill()
    assert len(list(setting.cache.list_keys())) == setting.queue.depth() == 5


async def test_filling_takes_only_named_namespaces(setting: Setting):
    """An operator that was given namespaces asks for no other's objects."""
    setting = Setting("team-a", "team-b")
    for namespace in ("team-a", "team-b", "team-c"):
        setting.cluster.put(TRAINING_JOBS, a_training_job(f"job-of-{namespace}", namespace))
    await setting.auditor.fill()
    assert {key.namespace for key in setting.cache.list_keys()} == {"team-a", "team-b"}


async def test_nothing_counts_as_filled_before_it_is(setting: Setting):
    """From half a cache nothing is decided."""
    setting.cluster.before_call = lambda _, plural, __: Unavailable("away") if plural == "pods" else None
    with pytest.raises(Unavailable):
        await setting.auditor.fill()
    assert not setting.auditor.filled


async def test_a_cache_that_is_right_has_missed_nothing(setting: Setting):
    """Nothing to mend, nobody to wake."""
    setting.cache.take("Job", setting.cluster.put(JOBS, a_job()))
    assert await setting.compare() == 0
    assert setting.queue.depth() == 0


async def test_a_job_that_no_event_told_of_is_found(setting: Setting):
    """It is known afterwards, and its owner is looked at."""
    setting.cluster.put(JOBS, a_job())
    assert await setting.compare() == 1
    assert [job.name for job in setting.cache.find_jobs(ONE)] == ["one-train-1"]
    assert await setting.queue.take() == ONE


async def test_a_change_that_no_event_told_of_is_found(setting: Setting):
    """The newer version is taken."""
    setting.cache.take("Job", setting.cluster.put(JOBS, a_job()))
    setting.cluster.edit(JOBS, "team", "one-train-1", {"spec": {"suspend": True}})
    assert await setting.compare() == 1
    assert setting.cache.find_jobs(ONE)[0].suspended


async def test_a_deletion_that_no_event_told_of_is_found(setting: Setting):
    """Kopf lists again after a broken watch, but tells of no deletion it missed."""
    made = setting.cluster.put(JOBS, a_job())
    setting.cache.take("Job", made)
    await setting.cluster.delete(JOBS, "team", "one-train-1")
    assert await setting.compare() == 1
    assert setting.cache.find_jobs(ONE) == ()


async def test_what_was_made_since_the_list_is_not_taken_for_deleted(setting: Setting):
    """An object newer than the list cannot be on it."""
    setting.cache.take("Job", a_job(version=10_000_000))
    assert await setting.compare() == 0
    assert len(setting.cache.find_jobs(ONE)) == 1


async def test_an_event_that_arrives_meanwhile_was_not_missed(setting: Setting):
    """A watch that is a moment behind is not dead."""
    made = setting.cluster.put(JOBS, a_job())
    listed = await setting.auditor._list(JOBS)
    setting.cache.take("Job", made)
    assert setting.auditor._mend(JOBS, listed, set()) == 0


async def test_a_watch_that_keeps_missing_is_dead(setting: Setting):
    """Two comparisons in a row; the probe then has the operator restarted."""
    for number in range(2):
        assert setting.auditor.find_dead() == ()
        setting.cluster.put(JOBS, a_job(f"one-train-{number}"))
        await setting.compare()
    assert setting.auditor.find_dead() == ("Job",)


async def test_a_watch_that_recovers_is_alive(setting: Setting):
    """One clean comparison clears its name."""
    for number in range(2):
        setting.cluster.put(JOBS, a_job(f"one-train-{number}"))
        await setting.compare()
    await setting.compare()
    assert setting.auditor.find_dead() == ()
