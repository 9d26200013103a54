"""What the operator serves: metrics for a monitor, and two answers for the kubelet. No data of any user.

`/healthz` fails when the operator should be restarted, `/readyz` when it has not yet seen the cluster; each answers
with a sentence that says why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from atelier_contract import names
from atelier_operator.edges.metrics import Metrics

Verdict = Callable[[], str]
"""Returns what is wrong; empty: nothing."""


@dataclass(frozen=True)
class Verdicts:
    """What the two probes are answered from."""

    health: Verdict
    readiness: Verdict


@asynccontextmanager
async def serve_web(host: str, port: int, metrics: Metrics, verdicts: Verdicts) -> AsyncIterator[int]:
    """Serve until the context ends; yields the port (chosen by the kernel where 0 was asked for)."""

    async def answer_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.to_text(), content_type="text/plain", charset="utf-8")

    async def answer_health(_: web.Request) -> web.Response:
        return _answer(verdicts.health())

    async def answer_readiness(_: web.Request) -> web.Response:
        return _answer(verdicts.readiness())

    application = web.Application()
    application.router.add_get(names.METRICS_PATH, answer_metrics)
    application.router.add_get(names.HEALTH_PATH, answer_health)
    application.router.add_get(names.READY_PATH, answer_readiness)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host or None, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(problem: str) -> web.Response:
    return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")
