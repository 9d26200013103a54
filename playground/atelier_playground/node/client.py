"""The node's way to the API server: JSON over HTTPS, with lists that turn into watches.

It raises `ApiError` for what the server refuses and `Unreachable` when there is no answer; callers decide what to
retry. It knows paths and nothing of what the objects mean.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from atelier_playground.errors import ApiError, PlaygroundError

Object = dict[str, Any]

_ANSWER_SECONDS = 30
_RETRY_SECONDS = 1.0
# Watches are asked to end after a while, so that a connection lost in silence is noticed.
_WATCH_SECONDS = 240
# One object of a watch is one line; etcd's own limit on an object is 1.5 MiB.
_LINE_BYTES = 4 * 2**20

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"


class Unreachable(PlaygroundError):
    """The API server gave no answer."""


class Client:
    """A connection to the API server. Use it as an async context manager.

    Args:
        kubeconfig: a file with one cluster, its authority embedded, and one user with a token.
    """

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self._token: str = document["users"][0]["user"]["token"]

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self.server,
            # Without a limit, because every watched object holds a connection.
            connector=aiohttp.TCPConnector(ssl=self._trust, limit=0),
            headers={"Authorization": f"Bearer {self._token}", "User-Agent": "atelier-playground-node"},
            read_bufsize=_LINE_BYTES,
            # A proxy of the environment must not come between two processes of one machine.
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def get(self, path: str, **parameters: str) -> Object:
        """Read one object or a list."""
        return await self._ask("GET", path, parameters=parameters)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object, or post to a subresource."""
        return await self._ask("POST", path, body)

    async def patch(self, path: str, body: Object, kind: str = STRATEGIC) -> Object:
        """Change a part of an object."""
        return await self._ask("PATCH", path, body, kind)

    async def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete an object."""
        return await self._ask("DELETE", path, body)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = "application/json",
        parameters: Mapping[str, str] | None = None,
    ) -> Object:
        try:
            async with self._session.request(
                method,
                path,
                params=parameters,
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
            ) as answer:
                text = await answer.text()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path}: no answer from {self.server}: {error!r}") from error
        return _read_answer(status, text, f"{method} {path}")

    async def follow(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Any]]:
        """Follow a collection for ever.

        Args:
            path: the collection.
            selector: a field selector.

        Yields:
            ("LISTED", [objects]) at the start and whenever the thread was lost, then ("ADDED" | "MODIFIED" |
            "DELETED", object).
        """
        chosen = {"fieldSelector": selector} if selector else {}
        while True:
            try:
                listed = await self.get(path, **chosen)
                yield "LISTED", listed["items"]
                version = listed["metadata"]["resourceVersion"]
                async for change in self._watch(path, chosen, version):
                    yield change
            except (ApiError, Unreachable):
                await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.5, 1.5))

    async def _watch(self, path: str, chosen: Mapping[str, str], version: str) -> AsyncIterator[tuple[str, Object]]:
        while True:
            parameters = {**chosen, "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
            parameters["timeoutSeconds"] = str(int(_WATCH_SECONDS * random.uniform(0.8, 1.2)))
            try:
                async with self._session.get(
                    path,
                    params=parameters,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER_SECONDS),
                ) as answer:
                    if answer.status != 200:
                        _read_answer(answer.status, await answer.text(), f"GET {path} (watch)")
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            # Mostly 410: the version is too old to go on from; the caller lists again.
                            raise ApiError(event["object"].get("code", 500), "Expired", str(event["object"]))
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            yield event["type"], event["object"]
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unreachable(f"GET {path} (watch): {error!r}") from error


def _read_answer(status: int, text: str, request: str) -> Object:
    try:
        document: Object = json.loads(text)
    except ValueError:
        document = {"message": text.strip()}
    if status >= 400:
        raise ApiError(status, document.get("reason", ""), f"{request}: {status} {document.get('message', '')}")
    return document
