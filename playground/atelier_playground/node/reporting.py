"""A pod's status on its way to the API: written on change, insisted on, never overtaken by an older one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from atelier_playground.errors import ApiError
from atelier_playground.node.client import STRATEGIC, Client, Object, Unreachable

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Reporter:
    """The reports on one pod.

    Args:
        client: the API.
        pod: the object.
        build: builds the status as it is now.
    """

    def __init__(self, client: Client, pod: Object, build: Callable[[], Object]) -> None:
        metadata = pod["metadata"]
        self._client = client
        self._uid = metadata["uid"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        self._build = build
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._reported: Object = {}
        self._is_closed = False

    def notice(self) -> None:
        """Take note that the status may have changed."""
        self._news.set()

    def close(self) -> None:
        """Report no more: the object is gone."""
        self._is_closed = True

    async def follow(self) -> None:
        """Report each change, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.report()

    async def report(self) -> None:
        """Write the status if it has changed, and insist until the API has it."""
        async with self._turn:
            while not self._is_closed:
                status = self._build()
                if status == self._reported:
                    return
                try:
                    await self._client.patch(self._path, {"metadata": {"uid": self._uid}, "status": status}, STRATEGIC)
                except ApiError as error:
                    # Gone, or another pod of the same name: there is nobody to tell.
                    if error.status in {404, 409}:
                        return
                    _log.warning("a status was refused: %s", error)
                except Unreachable as error:
                    _log.warning("a status waits: %s", error)
                else:
                    self._reported = status
                    return
                await asyncio.sleep(_RETRY_SECONDS)
