"""Asks a running trainer how far it is.

The pod belongs to a user and may be hostile, so little is granted to it: one plain GET to the address the cluster
reports, no redirects (they could lead to the node's metadata service), no proxies, 64 KiB, five seconds, and an answer
counts only if it is a ProgressReport of that very pod.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import aiohttp
from pydantic import ValidationError

from atelier_contract import names
from atelier_contract.progress import ProgressReport
from atelier_operator.model import ObservedPod, ObservedProgress


class ProgressSource(Protocol):
    """Whoever can say how far a pod is."""

    async def ask(self, pod: ObservedPod) -> ObservedProgress:
        """Return the pod's answer, or why there is none; never raises for what the pod does."""


class ProgressClient:
    """Asks pods over HTTP."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        clock: Callable[[], datetime],
        *,
        port: int = names.PROGRESS_PORT,
        timeout_seconds: float = names.PROGRESS_TIMEOUT_SECONDS,
    ) -> None:
        self._session = session
        self._clock = clock
        self._port = port
        self._timeout_seconds = timeout_seconds

    async def ask(self, pod: ObservedPod) -> ObservedProgress:
        """Ask one pod."""
        asked_at = self._clock()
        report, problem = await self._fetch(pod)
        return ObservedProgress(pod_uid=pod.uid, asked_at=asked_at, report=report, problem=problem)

    async def _fetch(self, pod: ObservedPod) -> tuple[ProgressReport | None, str]:
        url = build_url(pod.ip, self._port)
        if url is None:
            return None, "the pod has no address yet"
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as answer,
            ):
                if answer.status != 200:
                    return None, f"the pod answered HTTP {answer.status}"
                data = await _read_at_most(answer, names.PROGRESS_LIMIT_BYTES)
        except TimeoutError:
            return None, f"the pod did not answer within {self._timeout_seconds:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, f"the pod could not be reached ({type(error).__name__})"
        if data is None:
            return None, f"the pod's answer is longer than {names.PROGRESS_LIMIT_BYTES} bytes"
        return _read_report(data, pod.uid)


def open_session() -> aiohttp.ClientSession:
    """Return a session for asking pods: no proxies, no cookies, no connection kept, no decompression."""
    return aiohttp.ClientSession(
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=64, force_close=True),
    )


def build_url(ip: str, port: int) -> str | None:
    """Return where to ask; None when the address is not an IP address (a name could point anywhere)."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}{names.PROGRESS_PATH}"


async def _read_at_most(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes | None:
    """Return the body; None as soon as it is longer than the limit."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > limit_bytes:
            return None
        parts.append(part)
    return b"".join(parts)


def _read_report(data: bytes, pod_uid: str) -> tuple[ProgressReport | None, str]:
    try:
        report = ProgressReport.from_bytes(data)
    except ValidationError:
        return None, "the pod's answer is not a progress report"
    if report.attempt != pod_uid:
        return None, "the answer is another attempt's"
    return report, ""
