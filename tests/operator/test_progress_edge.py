"""Asking a pod: what a hostile or broken one may not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from atelier_contract import names
from atelier_contract.progress import ProgressReport
from atelier_operator import readings
from atelier_operator.edges.progress import ProgressClient, build_url, open_session
from atelier_operator.model import ObservedPod, ObservedProgress
from operator_bodies import a_pod

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POD = replace(readings.read_pod(a_pod()), ip="127.0.0.1")
REPORT = ProgressReport(run_identity="ab", attempt=POD.uid, phase="Training", step=5, total_steps=10)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[..., Awaitable[ObservedProgress]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Serves an answer on loopback, as a pod would, and asks for it."""
    runners = []

    async def serve_and_ask(answer: Answer, pod: ObservedPod = POD, timeout_seconds: float = 5) -> ObservedProgress:
        application = web.Application()
        application.router.add_get(names.PROGRESS_PATH, answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with open_session() as session:
            port = runner.addresses[0][1]
            return await ProgressClient(session, lambda: NOW, port=port, timeout_seconds=timeout_seconds).ask(pod)

    yield serve_and_ask
    for runner in runners:
        await runner.cleanup()


async def say_report(_: web.Request) -> web.StreamResponse:
    return web.Response(body=REPORT.to_bytes())


async def test_a_report_is_read(ask: Ask):
    """The answer comes out as the pod said it, with the time of asking."""
    assert await ask(say_report) == ObservedProgress(POD.uid, NOW, REPORT)


async def test_a_redirect_is_not_followed(ask: Ask):
    """A pod cannot send the operator elsewhere, such as to the node's metadata service."""
    visited = []

    async def lead_away(request: web.Request) -> web.StreamResponse:
        visited.append(request.path)
        raise web.HTTPFound(f"{names.PROGRESS_PATH}?elsewhere")

    answer = await ask(lead_away)
    assert (answer.report, len(visited)) == (None, 1)


async def test_an_answer_over_the_limit_is_cut_off(ask: Ask):
    """64 KiB and one byte are too many, even where they are a whole report."""
    padded = REPORT.to_bytes()
    padded += b" " * (names.PROGRESS_LIMIT_BYTES + 1 - len(padded))

    async def say_much(_: web.Request) -> web.StreamResponse:
        return web.Response(body=padded)

    answer = await ask(say_much)
    assert answer.report is None
    assert "longer" in answer.problem


async def test_an_answer_of_the_limit_is_read(ask: Ask):
    """64 KiB are not too many."""
    padded = REPORT.to_bytes().ljust(names.PROGRESS_LIMIT_BYTES)

    async def say_much(_: web.Request) -> web.StreamResponse:
        return web.Response(body=padded)

    assert (await ask(say_much)).report == REPORT


async def test_an_endless_answer_is_cut_off(ask: Ask):
    """A stream without a length does not fill the operator's memory."""

    async def say_on_and_on(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    assert "longer" in (await ask(say_on_and_on)).problem


async def test_a_compressed_bomb_is_not_unpacked(ask: Ask):
    """What is packed although nobody asked for it is not a report."""

    async def say_packed(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=REPORT.to_bytes().ljust(60_000))
        response.enable_compression(web.ContentCoding.gzip, strategy=0)
        response.headers["Content-Encoding"] = "gzip"
        return response

    assert (await ask(say_packed)).report is None


async def test_a_silent_pod_is_given_up(ask: Ask):
    """A pod that takes the question and never answers costs its own time only."""
    ended = asyncio.Event()

    async def say_nothing(_: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    answer = await ask(say_nothing, timeout_seconds=0.05)
    ended.set()
    assert "did not answer" in answer.problem


async def test_nonsense_is_no_report(ask: Ask):
    """What does not have the shape of a report is none, and its words are not repeated."""

    async def say_nonsense(_: web.Request) -> web.StreamResponse:
        return web.Response(text="a secret caption")

    answer = await ask(say_nonsense)
    assert answer.report is None
    assert "secret" not in answer.problem


async def test_another_attempts_answer_does_not_count(ask: Ask):
    """An address that was given to another pod in the meantime does not speak for this one."""
    assert (await ask(say_report, replace(POD, uid="another"))).report is None


async def test_an_error_of_the_pod_is_no_report(ask: Ask):
    """Only HTTP 200 counts."""

    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500, body=REPORT.to_bytes())

    assert "500" in (await ask(fail)).problem


async def test_a_pod_that_is_gone_is_unreachable():
    """A refused connection is an answer like another, and no error."""
    async with open_session() as session:
        answer = await ProgressClient(session, lambda: NOW, port=1).ask(POD)
    assert "could not be reached" in answer.problem


async def test_proxies_of_the_environment_are_not_used(ask: Ask, monkeypatch: pytest.MonkeyPatch):
    """What a pod says does not pass through anybody else."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await ask(say_report)).report == REPORT


@pytest.mark.parametrize(
    ("ip", "url"),
    [
        ("10.0.0.7", "http://10.0.0.7:8080/progress"),
        ("fd00::7", "http://[fd00::7]:8080/progress"),
        ("", None),
        ("metadata.internal", None),
        ("10.0.0.7/@evil", None),
    ],
)
def test_only_addresses_are_asked(ip: str, url: str | None):
    """IPv6 is bracketed; names are not asked at all."""
    assert build_url(ip, 8080) == url
