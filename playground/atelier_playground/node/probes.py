"""A container's probes: httpGet and tcpSocket, as the kubelet asks them.

In come the container's spec and the pod's address; out go two answers that change over time: whether the container is
ready, and that it is no longer alive. Probes that run a program inside the container are not offered; they count as
passed, and the pod gets an Event that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from atelier_playground.node.client import Object


class Probe:
    """One probe of one container.

    Args:
        container: the container's spec.
        probe: the probe's spec.
        address: where the pod listens, unless the probe names a host.
    """

    def __init__(self, container: Object, probe: Object, address: str) -> None:
        self._container = container
        self._probe = probe
        self._address = address

    @property
    def is_offered(self) -> bool:
        """Whether this node can ask it."""
        return "httpGet" in self._probe or "tcpSocket" in self._probe

    async def run(self, on_change: Callable[[bool], None]) -> None:
        """Ask again and again, and report each change of the answer, until cancelled."""
        await asyncio.sleep(self._probe.get("initialDelaySeconds") or 0)
        answer: bool | None = None
        streak, previous = 0, None
        while True:
            passed = await self._ask()
            streak = streak + 1 if passed == previous else 1
            previous = passed
            needed = self._probe.get("successThreshold" if passed else "failureThreshold") or (1 if passed else 3)
            if passed != answer and streak >= needed:
                answer = passed
                on_change(passed)
            await asyncio.sleep(self._probe.get("periodSeconds") or 10)

    async def _ask(self) -> bool:
        seconds = self._probe.get("timeoutSeconds") or 1
        try:
            async with asyncio.timeout(seconds):
                if "httpGet" in self._probe:
                    return await self._ask_http(self._probe["httpGet"])
                return await self._ask_tcp(self._probe["tcpSocket"])
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _ask_http(self, request: Object) -> bool:
        scheme = request.get("scheme", "HTTP").lower()
        host = request.get("host") or self._address
        url = f"{scheme}://{host}:{self._find_port(request['port'])}{request.get('path', '/')}"
        headers = {"User-Agent": "kube-probe/1.34", **_read_headers(request)}
        # Like the kubelet, without verifying certificates: the question is whether something answers.
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            return 200 <= answer.status < 400

    async def _ask_tcp(self, request: Object) -> bool:
        host = request.get("host") or self._address
        _, writer = await asyncio.open_connection(host, self._find_port(request["port"]))
        writer.close()
        return True

    def _find_port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        for named in self._container.get("ports") or ():
            if named.get("name") == port:
                return int(named["containerPort"])
        return int(port)


def _read_headers(request: Object) -> dict[str, str]:
    return {header["name"]: header["value"] for header in request.get("httpHeaders") or ()}
