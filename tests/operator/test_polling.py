"""Following pods: who is asked, and what is news."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from atelier_contract.progress import ProgressReport
from atelier_operator import readings
from atelier_operator.model import Key, ObservedPod, ObservedProgress
from atelier_operator.polling import PATIENCE, Poller
from operator_bodies import a_pod

ONE = Key("TrainingJob", "team", "one")
POD = readings.read_pod(a_pod())
OTHER = replace(POD, uid="other-uid")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Pods:
    """Pods that answer what the test says, one question at a time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.step: int | None = 1
        self.questions = asyncio.Semaphore(0)
        self.answered = asyncio.Semaphore(0)

    async def ask(self, pod: ObservedPod) -> ObservedProgress:
        await self.questions.acquire()
        self.asked.append(pod.uid)
        self.answered.release()
        asked_at = NOW + timedelta(seconds=len(self.asked))
        if self.step is None:
            return ObservedProgress(pod.uid, asked_at, None, "away")
        report = ProgressReport(run_identity="ab", attempt=pod.uid, phase="Training", step=self.step, total_steps=9)
        return ObservedProgress(pod.uid, asked_at, report)

    async def let_ask(self, times: int = 1) -> None:
        """Let so many questions be asked and answered."""
        for _ in range(times):
            self.questions.release()
            await asyncio.wait_for(self.answered.acquire(), 5)
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def marked() -> list[Key]:
    return []


@pytest.fixture
async def poller(pods: Pods, marked: list[Key]) -> Iterator[Poller]:
    poller = Poller(pods, marked.append, ask_seconds=0)
    yield poller
    poller.stop()
    await asyncio.sleep(0)


async def test_the_first_answer_is_news(poller: Poller, pods: Pods, marked: list[Key]):
    """A run that begins to report is looked at."""
    poller.follow(ONE, POD)
    await pods.let_ask()
    assert marked == [ONE]
    assert poller.read(ONE).report.step == 1


async def test_the_same_answer_again_is_no_news(poller: Poller, pods: Pods, marked: list[Key]):
    """A pod that has not moved on wakes nobody."""
    poller.follow(ONE, POD)
    await pods.let_ask(3)
    assert marked == [ONE]


async def test_another_answer_is_news(poller: Poller, pods: Pods, marked: list[Key]):
    """Progress is looked at."""
    poller.follow(ONE, POD)
    await pods.let_ask()
    pods.step = 2
    await pods.let_ask()
    assert marked == [ONE, ONE]


async def test_one_missed_answer_is_no_news(poller: Poller, pods: Pods, marked: list[Key]):
    """A lost packet does not make a condition flap; the last answer stays."""
    poller.follow(ONE, POD)
    await pods.let_ask()
    pods.step = None
    await pods.let_ask(PATIENCE - 1)
    assert poller.read(ONE).report.step == 1


async def test_a_pod_that_stays_silent_is_news(poller: Poller, pods: Pods, marked: list[Key]):
    """In the end the user is told that the pod cannot be reached."""
    poller.follow(ONE, POD)
    await pods.let_ask()
    pods.step = None
    await pods.let_ask(PATIENCE)
    assert poller.read(ONE).problem == "away"
    assert marked == [ONE, ONE]


async def test_following_the_same_pod_again_asks_no_faster(poller: Poller, pods: Pods):
    """Each look says whom to ask; that alone asks nobody."""
    poller.follow(ONE, POD)
    poller.follow(ONE, POD)
    await pods.let_ask(2)
    assert pods.asked == [POD.uid, POD.uid]


async def test_another_pod_is_asked_instead(poller: Poller, pods: Pods):
    """The next attempt's pod takes the place of the last one's, and its answers with it."""
    poller.follow(ONE, POD)
    await pods.let_ask()
    poller.follow(ONE, OTHER)
    assert poller.read(ONE) is None
    await pods.let_ask(2)
    assert pods.asked[1:] == [OTHER.uid, OTHER.uid]


async def test_nobody_is_asked_when_nobody_is_followed(poller: Poller, pods: Pods):
    """A run that ended is not asked any more."""
    poller.follow(ONE, POD)
    poller.follow(ONE, None)
    await asyncio.sleep(0)
    assert poller.read(ONE) is None
    assert not poller._followed
