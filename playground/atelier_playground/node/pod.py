"""One pod on this node, from the moment it is bound until its object may go.

In come the pod's spec and, later, its deletion; out go its containers, its status in the API, and its Events. The order
is the kubelet's: images, volumes, initial containers, containers, and at the end SIGTERM, grace, SIGKILL, a last
status, and only then the deletion of the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from atelier_playground.errors import ApiError
from atelier_playground.images import find_image, read_registry
from atelier_playground.node.client import Object, Unreachable
from atelier_playground.node.container import ContainerState, build_termination, now
from atelier_playground.node.events import Recorder
from atelier_playground.node.reporting import Reporter
from atelier_playground.node.sources import Missing
from atelier_playground.node.status import PodRecord, build_status
from atelier_playground.node.supervision import LONGEST_PAUSE_SECONDS, Supervisor, Surroundings
from atelier_playground.node.volumes import Volumes

_RETRY_SECONDS = 1.0
_SIZE_POLL_SECONDS = 10.0
_DEFAULT_GRACE_SECONDS = 30
_KILLED_CODE = 137
_FINAL_PHASES = frozenset({"Succeeded", "Failed"})


class Pod:
    """A pod and its containers.

    Args:
        surroundings: what its containers share.
        pod: the object, as first seen.
    """

    def __init__(self, surroundings: Surroundings, pod: Object) -> None:
        self._around = surroundings
        self._pod = pod
        self._record = _build_record(pod, surroundings)
        self._events = Recorder(surroundings.client, pod, surroundings.place.node)
        self._reporter = Reporter(surroundings.client, pod, self._build_status)
        self._volumes = Volumes(surroundings.client, surroundings.directory / "volumes", surroundings.place)
        spec = pod["spec"]
        self._initial = self._supervise(spec.get("initContainers") or [], self._record.initial)
        self._containers = self._supervise(spec["containers"], self._record.containers)
        self._deleted = asyncio.Event()
        self._is_gone = False

    def _supervise(self, specs: list[Object], states: list[ContainerState]) -> list[Supervisor]:
        return [
            Supervisor(
                self._around,
                self._pod,
                spec=spec,
                state=state,
                volumes=self._volumes,
                events=self._events,
                on_news=self._reporter.notice,
            )
            for spec, state in zip(specs, states, strict=True)
        ]

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self._pod["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self._pod["metadata"]["namespace"])

    @property
    def address(self) -> str:
        """The pod's own loopback address."""
        return self._around.place.address

    @property
    def _policy(self) -> str:
        return str(self._pod["spec"].get("restartPolicy", "Always"))

    @property
    def _states(self) -> list[ContainerState]:
        return [*self._record.initial, *self._record.containers]

    def update(self, pod: Object) -> None:
        """Take a newer version of the object; a deletion timestamp begins the end."""
        self._pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def forget(self) -> None:
        """Take note that the object is gone: its processes have no right to go on."""
        self._is_gone = True
        self._reporter.close()
        self._deleted.set()

    def find_log(self, container: str, previous: bool) -> tuple[Path, Callable[[], bool]] | None:
        """Find a container's log and a way to ask whether it may still grow; None when there is none."""
        state = next((one for one in self._states if one.name == container), None)
        if state is None:
            return None
        number = state.restarts - (1 if previous else 0)
        log = self._around.directory / "containers" / container / f"{number}.log"
        return (log, lambda: state.is_running and not previous) if log.exists() else None

    async def run(self) -> None:
        """See the pod through from its start to its end."""
        following = asyncio.create_task(self._reporter.follow())
        try:
            if not self._has_ended_before():
                await self._live_until_end()
            await self._reporter.report()
            await self._deleted.wait()
            await self._release()
        finally:
            following.cancel()
            shutil.rmtree(self._around.directory, ignore_errors=True)

    def _has_ended_before(self) -> bool:
        """Whether the pod has had its life already, here or in an earlier life of this node.

        A node that ends takes its containers along; what ran then is reported as lost, or is started again.
        """
        status = self._pod.get("status", {})
        if status.get("phase") in _FINAL_PHASES:
            self._reporter.close()
            return True
        if status.get("phase") == "Running" and self._policy == "Never":
            self._close()
            return True
        for state, known in zip(self._record.containers, status.get("containerStatuses") or (), strict=False):
            state.restarts = known.get("restartCount", 0) + ("running" in known.get("state", {}))
        return False

    # Its life

    async def _live_until_end(self) -> None:
        life = asyncio.create_task(self._live())
        watches = [
            asyncio.create_task(self._deleted.wait()),
            asyncio.create_task(self._watch_deadline()),
            asyncio.create_task(self._watch_sizes()),
        ]
        try:
            await asyncio.wait([life, *watches], return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            else:
                await self._end(life)
        finally:
            for task in (life, *watches):
                task.cancel()

    async def _live(self) -> None:
        self._reporter.notice()
        await self._fetch_images()
        await self._lay_out_volumes()
        upkeep = asyncio.create_task(self._volumes.keep_current(self._pod))
        try:
            for supervisor, state in zip(self._initial, self._record.initial, strict=True):
                # An initial container has to succeed once; only a pod that never restarts gives up on it.
                await supervisor.keep("Never" if self._policy == "Never" else "OnFailure")
                if state.exit_code != 0:
                    return
            async with asyncio.TaskGroup() as tasks:
                for supervisor in self._containers:
                    tasks.create_task(supervisor.keep(self._policy))
        finally:
            upkeep.cancel()

    async def _fetch_images(self) -> None:
        """Wait until every image is known, as a kubelet waits for a registry."""
        pause = self._around.restart_seconds
        while True:
            images = read_registry(self._around.images)
            missing = [one for one in self._states if find_image(images, one.image) is None]
            if not missing:
                return
            for one in missing:
                words = f'failed to pull image "{one.image}": not found'
                one.wait_for("ErrImagePull", words)
                self._events.warn("Failed", f"Error: ErrImagePull: {words}")
            self._reporter.notice()
            await asyncio.sleep(min(pause, _RETRY_SECONDS))
            for one in missing:
                one.wait_for("ImagePullBackOff", f'Back-off pulling image "{one.image}"')
            self._reporter.notice()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _lay_out_volumes(self) -> None:
        """Lay the volumes out; what is missing may yet come."""
        while True:
            try:
                await self._volumes.lay_out(self._pod)
            except (Missing, ApiError, Unreachable) as error:
                self._events.warn("FailedMount", str(error))
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    # Its end

    async def _watch_deadline(self) -> None:
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        if deadline is None:
            await asyncio.Event().wait()
        await asyncio.sleep(float(deadline))
        words = "Pod was active on the node longer than the specified deadline"
        self._record.verdict = ("DeadlineExceeded", words)

    async def _watch_sizes(self) -> None:
        overflow = None
        while overflow is None:
            await asyncio.sleep(_SIZE_POLL_SECONDS)
            overflow = await asyncio.to_thread(self._volumes.find_overflow, self._pod)
        self._record.verdict = ("Evicted", overflow)
        self._events.warn("Evicted", overflow)

    async def _end(self, life: asyncio.Task[None]) -> None:
        """End every container, with the grace that the deletion or the spec gives."""
        running = any(state.is_running for state in self._states)
        grace = self._choose_grace_seconds()
        await asyncio.gather(*(supervisor.stop(grace) for supervisor in (*self._initial, *self._containers)))
        if running:
            with contextlib.suppress(TimeoutError):
                # The runs have ended; this lets each write its last state.
                await asyncio.wait_for(asyncio.shield(life), timeout=_RETRY_SECONDS)
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        self._close()

    def _choose_grace_seconds(self) -> float:
        if self._is_gone or (self._record.verdict or ("", ""))[0] == "Evicted":
            return 0
        default = self._pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
        return float(self._pod["metadata"].get("deletionGracePeriodSeconds", default))

    def _close(self) -> None:
        """Give every container that has not ended an end, so that the pod's phase is a final one."""
        for state in self._record.containers:
            if state.exit_code is None:
                words = "The container could not be located when the pod was terminated"
                state.state = {"terminated": build_termination(_KILLED_CODE, "ContainerStatusUnknown", words)}
            state.is_ready = state.is_started = False
        self._record.is_over = True

    async def _release(self) -> None:
        """Let the object go, now that nothing of the pod runs any more."""
        metadata = self._pod["metadata"]
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        while not self._is_gone and metadata.get("deletionTimestamp"):
            try:
                await self._around.client.delete(f"/api/v1/namespaces/{self.namespace}/pods/{self.name}", body)
            except ApiError as error:
                if error.status in {404, 409}:
                    return
                self._events.warn("FailedKillPod", str(error))
            except Unreachable as error:
                self._events.warn("FailedKillPod", str(error))
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    def _build_status(self) -> Object:
        return build_status(self._pod, self._record, now())


def _build_record(pod: Object, surroundings: Surroundings) -> PodRecord:
    spec = pod["spec"]
    return PodRecord(
        address=surroundings.place.address,
        host_address=surroundings.place.host_address,
        started_at=pod.get("status", {}).get("startTime") or now(),
        initial=[ContainerState(one["name"], one["image"]) for one in spec.get("initContainers") or ()],
        containers=[ContainerState(one["name"], one["image"]) for one in spec["containers"]],
    )
