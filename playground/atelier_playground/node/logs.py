"""The node's own HTTPS server: the part of the kubelet's API that `kubectl logs` needs.

Only the API server may ask: it shows a certificate of the cluster's authority. In comes a pod and container name; out
goes the log, as far as it is written or as it grows.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import IO

from aiohttp import web

_FOLLOW_SECONDS = 0.25
_CHUNK_BYTES = 64 * 1024

FindLog = Callable[[str, str, str, bool], tuple[Path, Callable[[], bool]] | None]
"""(namespace, pod, container, previous) → the log file, and whether it may still grow."""


async def start_log_server(keys: Path, address: str, find_log: FindLog) -> int:
    """Start serving logs.

    Returns:
        The port, chosen by the kernel.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _serve_log(request, find_log)

    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca.crt"))
    trust.load_cert_chain(keys / "node.crt", keys / "node.key")
    trust.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, address, 0, ssl_context=trust)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


async def _serve_log(request: web.Request, find_log: FindLog) -> web.StreamResponse:
    names = request.match_info
    previous = request.query.get("previous") == "true"
    found = find_log(names["namespace"], names["pod"], names["container"], previous)
    if found is None:
        raise web.HTTPNotFound(text=f"no log of container {names['container']} of pod {names['pod']} on this node\n")
    path, may_grow = found
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    remaining = int(request.query["limitBytes"]) if "limitBytes" in request.query else None
    with path.open("rb") as log:
        if "tailLines" in request.query:
            _seek_to_tail(log, int(request.query["tailLines"]))
        await _copy(log, response, remaining)
        while request.query.get("follow") == "true":
            is_last = not may_grow()
            await _copy(log, response, None)
            if is_last:
                break
            await asyncio.sleep(_FOLLOW_SECONDS)
    await response.write_eof()
    return response


async def _copy(log: IO[bytes], response: web.StreamResponse, limit: int | None) -> None:
    while limit is None or limit > 0:
        chunk = log.read(_CHUNK_BYTES if limit is None else min(limit, _CHUNK_BYTES))
        if not chunk:
            return
        await response.write(chunk)
        limit = None if limit is None else limit - len(chunk)


def _seek_to_tail(log: IO[bytes], lines: int) -> None:
    """Go to where the last lines begin, reading backwards in pieces."""
    end = log.seek(0, 2)
    position, found = end, 0
    while position > 0:
        start = max(0, position - _CHUNK_BYTES)
        log.seek(start)
        piece = log.read(position - start)
        for index in range(len(piece) - 1, -1, -1):
            # A newline at the very end closes the last line; it does not begin another.
            if piece[index] == 0x0A and start + index != end - 1:
                found += 1
                if found == lines:
                    log.seek(start + index + 1)
                    return
        position = start
    log.seek(0 if lines else end)
