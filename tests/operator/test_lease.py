"""The Lease: one holder at a time, soon another when the first is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from atelier_operator.edges import lease as lease_edge
from atelier_operator.edges.lease import DURATION_SECONDS, Lease, LeaseClocks
from atelier_operator.edges.resources import LEASES
from atelier_operator.errors import LeaseLost, Unavailable
from fake_cluster import FakeCluster

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def a_lease(cluster: FakeCluster, clock: Clock, identity: str) -> Lease:
    return Lease(cluster, "system", "atelier", identity, LeaseClocks(clock, lambda: NOW))


def read_holder(cluster: FakeCluster) -> str:
    return cluster.objects[LEASES.plural, "system", "atelier"]["spec"]["holderIdentity"]


async def test_the_first_one_takes_it(cluster: FakeCluster, clock: Clock):
    """Where there is no Lease, one is made."""
    assert await a_lease(cluster, clock, "a").try_take()
    assert read_holder(cluster) == "a"


async def test_the_second_one_waits(cluster: FakeCluster, clock: Clock):
    """While the holder lives, nobody else acts."""
    await a_lease(cluster, clock, "a").try_take()
    assert not await a_lease(cluster, clock, "b").try_take()


async def test_the_same_pod_goes_on_at_once(cluster: FakeCluster, clock: Clock):
    """A container that was killed and started again does not wait for itself."""
    await a_lease(cluster, clock, "a").try_take()
    assert await a_lease(cluster, clock, "a").try_take()


async def test_a_silent_holder_is_replaced(cluster: FakeCluster, clock: Clock):
    """A Lease that has not changed for its duration is free, by the waiting one's own clock."""
    await a_lease(cluster, clock, "a").try_take()
    second = a_lease(cluster, clock, "b")
    await second.try_take()
    clock.seconds = DURATION_SECONDS + 1
    assert await second.try_take()
    assert read_holder(cluster) == "b"


async def test_a_renewing_holder_is_not_replaced(cluster: FakeCluster, clock: Clock):
    """Each renewal starts the waiting one's clock again."""
    first, second = a_lease(cluster, clock, "a"), a_lease(cluster, clock, "b")
    await first.try_take()
    await second.try_take()
    clock.seconds = DURATION_SECONDS - 1
    await first._renew()
    await second.try_take()
    clock.seconds += DURATION_SECONDS - 1
    assert not await second.try_take()


async def test_an_unseen_lease_is_given_its_time(cluster: FakeCluster, clock: Clock):
    """However old a Lease looks by its own clock, one who sees it first waits for a whole duration."""
    await a_lease(cluster, clock, "a").try_take()
    clock.seconds = 1_000_000
    assert not await a_lease(cluster, clock, "b").try_take()


async def test_a_lease_that_was_given_back_is_taken_at_once(cluster: FakeCluster, clock: Clock):
    """An orderly end is no pause."""
    first = a_lease(cluster, clock, "a")
    await first.acquire()
    await first.release()
    assert await a_lease(cluster, clock, "b").try_take()


async def test_anothers_lease_is_not_given_back(cluster: FakeCluster, clock: Clock):
    """One who has lost the Lease leaves it to its holder."""
    await a_lease(cluster, clock, "b").try_take()
    await a_lease(cluster, clock, "a").release()
    assert read_holder(cluster) == "b"


async def test_of_two_who_take_at_once_one_succeeds(cluster: FakeCluster, clock: Clock):
    """The version that was seen decides."""
    await a_lease(cluster, clock, "a").try_take()
    first, second = a_lease(cluster, clock, "b"), a_lease(cluster, clock, "c")
    await first.try_take()
    await second.try_take()
    clock.seconds = DURATION_SECONDS + 1
    assert await asyncio.gather(first.try_take(), second.try_take()) in ([True, False], [False, True])


async def test_a_holder_that_was_replaced_stops(cluster: FakeCluster, clock: Clock):
    """Who finds another's name in the Lease acts no more."""
    first = a_lease(cluster, clock, "a")
    await first.acquire()
    cluster.edit(LEASES, "system", "atelier", {"spec": {"holderIdentity": "b"}})
    with pytest.raises(LeaseLost, match="held by b"):
        await first._renew()


async def test_a_holder_that_cannot_renew_stops_before_another_begins(
    cluster: FakeCluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """The deadline lies before the end of the Lease's duration."""

    async def sleep(seconds: float) -> None:
        clock.seconds += seconds

    first = a_lease(cluster, clock, "a")
    await first.acquire()
    monkeypatch.setattr(lease_edge.asyncio, "sleep", sleep)
    cluster.before_call = lambda *_: Unavailable("away")
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await first.keep()
    assert not first.held
    assert clock.seconds < DURATION_SECONDS


async def test_a_short_outage_is_survived(cluster: FakeCluster, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """A renewal that fails is tried again."""

    async def sleep(seconds: float) -> None:
        clock.seconds += seconds
        cluster.before_call = lambda *_: None

    first = a_lease(cluster, clock, "a")
    await first.acquire()
    monkeypatch.setattr(lease_edge.asyncio, "sleep", sleep)
    cluster.before_call = lambda *_: Unavailable("away")
    await first._renew()
    assert first.held


async def test_an_outage_while_waiting_is_survived(cluster: FakeCluster, clock: Clock):
    """A standby that cannot reach the API server goes on waiting."""
    cluster.before_call = lambda *_: Unavailable("away")
    assert not await a_lease(cluster, clock, "a").try_take()
