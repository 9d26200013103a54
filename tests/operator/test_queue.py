"""The queue of due keys: coalescing, exclusion, pauses."""

from __future__ import annotations

import asyncio

import pytest

from atelier_operator import queue
from atelier_operator.model import Key
from atelier_operator.queue import Queue

ONE, TWO = Key("TrainingJob", "team", "one"), Key("TrainingJob", "team", "two")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def due(clock: Clock) -> Queue:
    return Queue(clock)


async def is_idle(due: Queue) -> bool:
    """Whether nothing can be taken now."""
    taking = asyncio.create_task(due.take())
    for _ in range(5):
        await asyncio.sleep(0)
    idle = not taking.done()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    return idle


async def test_a_key_marked_often_is_taken_once(due: Queue):
    """Marks of one key coalesce."""
    for _ in range(3):
        due.mark(ONE)
    assert await due.take() == ONE
    due.settle(ONE)
    assert await is_idle(due)


async def test_keys_are_taken_in_the_order_they_became_due(due: Queue, clock: Clock):
    """A key that is due earlier is taken earlier."""
    due.mark(ONE, after_seconds=2)
    due.mark(TWO, after_seconds=1)
    clock.seconds = 3
    assert [await due.take(), await due.take()] == [TWO, ONE]


async def test_a_key_is_not_taken_before_it_is_due(due: Queue, clock: Clock):
    """A later time is waited for."""
    due.mark(ONE, after_seconds=60)
    clock.seconds = 59
    assert await is_idle(due)


async def test_an_earlier_mark_wins_over_a_later_one(due: Queue):
    """An event brings a look forward that was planned for later."""
    due.mark(ONE, after_seconds=600)
    due.mark(ONE)
    assert await due.take() == ONE


async def test_a_later_mark_does_not_put_off_an_earlier_one(due: Queue):
    """A plan to look again later does not swallow an event."""
    due.mark(ONE)
    due.mark(ONE, after_seconds=600)
    assert await due.take() == ONE


async def test_a_busy_key_is_not_taken_a_second_time(due: Queue):
    """One object is never looked at twice at once."""
    due.mark(ONE)
    await due.take()
    due.mark(ONE)
    assert await is_idle(due)


async def test_a_key_marked_while_busy_is_due_afterwards(due: Queue):
    """What happens during a look is looked at after it."""
    due.mark(ONE)
    await due.take()
    due.mark(ONE)
    due.settle(ONE)
    assert await due.take() == ONE


async def test_a_waiting_taker_wakes_when_a_key_is_marked(due: Queue):
    """Nobody polls."""
    taking = asyncio.create_task(due.take())
    await asyncio.sleep(0)
    due.mark(ONE)
    assert await asyncio.wait_for(taking, 5) == ONE


async def test_a_failed_key_waits_for_a_pause(due: Queue):
    """A failed look is not repeated at once."""
    due.mark(ONE)
    await due.take()
    due.settle(ONE, failed=True)
    assert await is_idle(due)


async def test_a_failed_key_waits_as_long_as_the_server_asked(due: Queue, clock: Clock):
    """A Retry-After of the API server is honoured."""
    due.mark(ONE)
    await due.take()
    due.settle(ONE, failed=True, at_least_seconds=30)
    clock.seconds = 29
    assert await is_idle(due)


async def test_a_key_marked_during_a_failing_look_keeps_the_shortest_pause(due: Queue, clock: Clock):
    """News during a failing look is not put off by the pause that many failures have earned."""
    for _ in range(10):
        due.mark(ONE)
        await due.take()
        due.settle(ONE, failed=True)
    due.mark(ONE)
    await due.take()
    due.mark(ONE)
    due.settle(ONE, failed=True)
    clock.seconds += queue.FIRST_PAUSE_SECONDS
    assert await due.take() == ONE


@pytest.mark.parametrize(("failures", "least", "most"), [(1, 0.4, 0.6), (2, 0.8, 1.2), (4, 3.2, 4.8), (99, 240, 360)])
def test_pauses_double_up_to_the_longest(failures: int, least: float, most: float):
    """The pause doubles with each failure and ends at five minutes, a fifth more or less."""
    assert least <= queue.choose_pause_seconds(failures) <= most


async def test_a_forgotten_key_is_not_taken(due: Queue):
    """What is gone is not looked at."""
    due.mark(ONE)
    due.forget(ONE)
    assert await is_idle(due)


async def test_lateness_is_that_of_the_oldest_due_key(due: Queue, clock: Clock):
    """The probe sees a loop that stands still."""
    due.mark(ONE)
    clock.seconds = 40
    due.mark(TWO)
    clock.seconds = 61
    assert due.oldest_lateness_seconds() == 61


def test_lateness_of_an_idle_queue_is_nothing(due: Queue):
    """No key, no lateness."""
    assert due.oldest_lateness_seconds() == 0


async def test_depth_counts_due_and_busy_keys(due: Queue):
    """What is planned for later is not depth."""
    due.mark(ONE)
    due.mark(TWO, after_seconds=60)
    await due.take()
    assert due.depth() == 1


async def test_no_more_keys_than_allowed_are_looked_at_at_once(due: Queue):
    """Concurrency is bounded."""
    at_once, most, seen = 0, 0, 0
    ended = asyncio.Event()

    async def look(key: Key) -> None:
        nonlocal at_once, most, seen
        at_once += 1
        most = max(most, at_once)
        for _ in range(3):
            await asyncio.sleep(0)
        at_once -= 1
        seen += 1
        due.settle(key)
        if seen == 20:
            ended.set()

    for number in range(20):
        due.mark(Key("TrainingJob", "team", str(number)))
    serving = asyncio.create_task(queue.serve(due, look, 4))
    await asyncio.wait_for(ended.wait(), 5)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert most == 4
