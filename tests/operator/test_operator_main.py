"""The parts joined: what ends the process, and what the probes say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from atelier_contract import names
from atelier_operator import __main__ as operator
from atelier_operator.edges import clock
from atelier_operator.edges.lease import Lease, LeaseClocks
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.web import Verdicts, serve_web
from atelier_operator.errors import LeaseLost
from atelier_operator.model import Key
from atelier_operator.settings import read_settings
from fake_cluster import FakeCluster

ONE = Key("TrainingJob", "team", "one")


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise LeaseLost("another acts")


async def end() -> None:
    await asyncio.sleep(0)


async def test_the_first_end_ends_all():
    """Nothing goes on without the Lease, without watches or without the loop."""
    other = asyncio.Event()

    async def note_end() -> None:
        try:
            await wait_for_ever()
        finally:
            other.set()

    await operator.run_until_first(note_end(), end())
    assert other.is_set()


async def test_the_first_error_is_raised():
    """It becomes the process's exit code."""
    with pytest.raises(LeaseLost):
        await operator.run_until_first(wait_for_ever(), fail())


async def test_wrong_settings_end_with_one(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Without a trainer image nothing starts, and the log says which name is missing."""
    monkeypatch.delenv(names.ENV_TRAINER_IMAGE, raising=False)
    assert operator.main() == 1
    assert names.ENV_TRAINER_IMAGE in caplog.text


class Silence:
    async def ask(self, _: Any) -> Any:
        raise AssertionError("nobody is asked here")


class Setting:
    """The parts of an operator that hold its Lease or not, on a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(clock, "read_steady_seconds", lambda: self.seconds)
        cluster = FakeCluster()
        settings = read_settings({names.ENV_TRAINER_IMAGE: "atelier/trainer"})
        self.work = operator.build_work(settings, cluster, Metrics(), Silence(), wait_for_ever)
        self.lease = Lease(cluster, "system", "atelier", "a", LeaseClocks(lambda: self.seconds, clock.read_now))
        self.lease.held = True
        self.work.auditor.filled = True

    def find_illness(self) -> str:
        return operator.find_illness(self.work, self.lease)

    def find_unreadiness(self) -> str:
        return operator.find_unreadiness(self.work, self.lease)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(monkeypatch)


def test_an_idle_operator_is_well_and_ready(setting: Setting):
    """Nothing due, nothing wrong."""
    assert (setting.find_illness(), setting.find_unreadiness()) == ("", "")


def test_a_loop_that_stands_still_is_ill(setting: Setting):
    """A key that has been due for more than a minute says so."""
    setting.work.due.mark(ONE)
    setting.seconds = operator.LATE_SECONDS + 1
    assert "due for 61 s" in setting.find_illness()


def test_a_busy_loop_is_well(setting: Setting):
    """A burst takes its time."""
    setting.work.due.mark(ONE)
    setting.seconds = operator.LATE_SECONDS - 1
    assert setting.find_illness() == ""


def test_a_dead_watch_is_ill(setting: Setting):
    """A restart opens it anew."""
    setting.work.auditor._strikes["Job"] = 2
    assert "Job" in setting.find_illness()


def test_a_standby_with_nothing_to_do_is_well_and_ready(setting: Setting):
    """It looks at nothing, however much is due."""
    setting.lease.held = False
    setting.work.auditor.filled = False
    setting.work.due.mark(ONE)
    setting.seconds = operator.LATE_SECONDS + 1
    assert (setting.find_illness(), setting.find_unreadiness()) == ("", "")


def test_a_standby_that_cannot_read_the_lease_is_ill(setting: Setting):
    """Perhaps its credentials are void: a restart reads them anew."""
    setting.lease.held = False
    setting.seconds = operator.SILENT_SECONDS + 1
    assert "could not be read" in setting.find_illness()


def test_an_operator_that_fills_its_cache_is_not_ready(setting: Setting):
    """A rollout waits until the new one sees the cluster."""
    setting.work.auditor.filled = False
    assert setting.find_unreadiness() != ""


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [(names.HEALTH_PATH, 503, "stuck\n"), (names.READY_PATH, 200, "ok\n")],
)
async def test_probes_answer_with_a_reason(path: str, status: int, text: str):
    """The kubelet sees the number, a person the sentence."""
    verdicts = Verdicts(health=lambda: "stuck", readiness=lambda: "")
    async with (
        serve_web("127.0.0.1", 0, Metrics(), verdicts) as port,
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert (answer.status, await answer.text()) == (status, text)


async def test_metrics_are_served(setting: Setting):
    """Counters and gauges, in Prometheus' own format."""
    metrics = Metrics()
    metrics.count_call("create", "jobs")
    metrics.add_gauges(lambda: operator.collect_gauges(setting.work, setting.lease))
    verdicts = Verdicts(lambda: "", lambda: "")
    async with (
        serve_web("127.0.0.1", 0, metrics, verdicts) as port,
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{names.METRICS_PATH}") as answer,
    ):
        text = await answer.text()
    assert 'atelier_api_calls_total{resource="jobs",verb="create"} 1.0' in text
    assert "atelier_lease_held 1.0" in text
