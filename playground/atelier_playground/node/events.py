"""Events about a pod, written once for each thing there is to say. A courtesy: nobody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt

from atelier_playground.errors import ApiError
from atelier_playground.node.client import Client, Object, Unreachable
from atelier_playground.node.container import now

_MESSAGE_CHARACTERS = 1024


class Recorder:
    """The Events of one pod.

    Args:
        client: the API.
        pod: the object they are about.
        node: the node that speaks.
    """

    def __init__(self, client: Client, pod: Object, node: str) -> None:
        self._client = client
        self._metadata = pod["metadata"]
        self._node = node
        self._said: set[tuple[str, str]] = set()
        # The event loop itself keeps only weak references to tasks.
        self._writing: set[asyncio.Task[None]] = set()

    def say(self, reason: str, message: str, kind: str = "Normal") -> None:
        """Write an Event, unless the same has been said of this pod before."""
        if (reason, message) in self._said:
            return
        self._said.add((reason, message))
        task = asyncio.create_task(self._write(reason, message[:_MESSAGE_CHARACTERS], kind))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def warn(self, reason: str, message: str) -> None:
        """Write an Event of type Warning."""
        self.say(reason, message, "Warning")

    async def _write(self, reason: str, message: str, kind: str) -> None:
        name, namespace, uid = (self._metadata[key] for key in ("name", "namespace", "uid"))
        moment = dt.datetime.now(dt.UTC)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            # client-go's recorder names events so: the object's name and a number that grows with time.
            "metadata": {"name": f"{name}.{int(moment.timestamp() * 1e9):x}"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": uid},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        with contextlib.suppress(ApiError, Unreachable):
            await self._client.create(f"/api/v1/namespaces/{namespace}/events", body)
