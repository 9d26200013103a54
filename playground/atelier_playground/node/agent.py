"""The node itself: it takes the pods that the scheduler binds to it and sees each through.

In come settings; it runs until it is told to end. Ending it ends its containers: they die with their parent. What
happens to one pod is in `pod.py`; this module only hands pods out and keeps the node present.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Callable
from pathlib import Path

from atelier_playground.binaries import find_sandbox
from atelier_playground.node.claims import serve_claims
from atelier_playground.node.client import Client, Object
from atelier_playground.node.logs import start_log_server
from atelier_playground.node.pod import Pod
from atelier_playground.node.presence import ADDRESS, Presence
from atelier_playground.node.settings import Settings
from atelier_playground.node.sources import Place
from atelier_playground.node.supervision import Surroundings

_log = logging.getLogger(__name__)


class Agent:
    """The pods of one node.

    Args:
        client: the API, as `system:node:<name>`.
        settings: what the node is told.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._bubblewrap = find_sandbox()
        self._directory = Path(settings.directory)
        self._pods: dict[str, Pod] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # The whole of 127/8 is this machine. A random block keeps two playgrounds on one machine apart.
        self._block = f"127.{random.randint(64, 254)}.{random.randint(1, 254)}"

    async def take_pods(self) -> None:
        """Take pods bound to this node, until cancelled."""
        async for kind, found in self._client.follow("/api/v1/pods", f"spec.nodeName={self._settings.name}"):
            if kind == "LISTED":
                self._replace(found)
            elif kind == "DELETED":
                self._drop(found["metadata"]["uid"])
            else:
                self._take(found)

    def find_log(
        self, namespace: str, pod: str, container: str, previous: bool
    ) -> tuple[Path, Callable[[], bool]] | None:
        """Find a container's log by names."""
        for one in self._pods.values():
            if (one.namespace, one.name) == (namespace, pod):
                return one.find_log(container, previous)
        return None

    def _replace(self, pods: list[Object]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in set(self._pods) - present:
            self._drop(uid)
        for pod in pods:
            self._take(pod)

    def _drop(self, uid: str) -> None:
        if uid in self._pods:
            self._pods[uid].forget()

    def _take(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._pods:
            self._pods[uid].update(pod)
            return
        # A pod keeps the address that an earlier life of this node gave it: the API does not let it change.
        address = pod.get("status", {}).get("podIP") or self._choose_address()
        surroundings = Surroundings(
            client=self._client,
            bubblewrap=self._bubblewrap,
            images=Path(self._settings.images),
            directory=self._directory / "pods" / uid,
            place=Place(self._settings.name, address),
            restart_seconds=self._settings.restart_seconds,
        )
        one = Pod(surroundings, pod)
        self._pods[uid] = one
        one.update(pod)
        self._tasks[uid] = asyncio.create_task(one.run())
        self._tasks[uid].add_done_callback(lambda task: self._finish(uid, task))

    def _finish(self, uid: str, task: asyncio.Task[None]) -> None:
        pod = self._pods.pop(uid)
        self._tasks.pop(uid)
        if not task.cancelled() and task.exception() is not None:
            _log.error("pod %s/%s was given up", pod.namespace, pod.name, exc_info=task.exception())

    def _choose_address(self) -> str:
        taken = {pod.address for pod in self._pods.values()}
        free = (f"{self._block}.{last}" for last in range(1, 255))
        return next(address for address in free if address not in taken)

    async def end(self) -> None:
        """End every container and wait until none is left."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_node(settings: Settings) -> None:
    """Run a node until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(Path(settings.kubeconfig)))
        agent = Agent(client, settings)
        port = await start_log_server(Path(settings.keys), ADDRESS, agent.find_log)
        duties = [agent.take_pods(), Presence(client, settings, port).keep()]
        if settings.provisioner is not None:
            owner = await stack.enter_async_context(Client(Path(settings.provisioner)))
            duties.append(serve_claims(owner, Path(settings.directory).parent / "volumes"))
        tasks = [asyncio.ensure_future(duty) for duty in duties]
        waiting = asyncio.create_task(ended.wait())
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in [*tasks, waiting]:
            task.cancel()
        await agent.end()
        for task in done - {waiting}:
            task.result()
