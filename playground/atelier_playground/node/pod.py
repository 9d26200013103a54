"""One pod on this node, from the moment it is bound until its object may go.

In come the pod's spec and, later, its deletion; out go its containers, its status in the API, and its Events. The order
is the kubelet's: volumes, initial containers, containers, restarts with growing pauses, and at the end SIGTERM, grace,
SIGKILL, a last status, and only then the deletion of the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from atelier_playground.errors import ApiError
from atelier_playground.images import NONROOT, Image, find_image, read_registry
from atelier_playground.node.client import STRATEGIC, Client, Object, Unreachable
from atelier_playground.node.container import ContainerState, Run, build_termination, now
from atelier_playground.node.environment import build_command, build_environment
from atelier_playground.node.probes import Probe
from atelier_playground.node.quantities import read_quantity
from atelier_playground.node.sandbox import Mount, Sandbox, build_account_files
from atelier_playground.node.sources import Missing, Place
from atelier_playground.node.status import PodRecord, build_status
from atelier_playground.node.volumes import Volumes

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
# A container that has run this long is taken to be well again, and its next pause is short (as the kubelet does).
_RECOVERY_SECONDS = 600.0
_SIZE_POLL_SECONDS = 10.0
_DEFAULT_MESSAGE_PATH = "/dev/termination-log"
_KILLED_CODE = 137


class Pod:
    """A pod and its containers.

    Args:
        client: the API.
        bubblewrap: the sandbox program.
        images: the registry file.
        directory: the pod's own directory; removed when the object is gone.
        pod: the object, as first seen.
        place: where it runs.
        restart_seconds: the first pause between restarts.
    """

    def __init__(
        self,
        client: Client,
        bubblewrap: Path,
        images: Path,
        directory: Path,
        pod: Object,
        place: Place,
        restart_seconds: float,
    ) -> None:
        self._client = client
        self._bubblewrap = bubblewrap
        self._images = images
        self._directory = directory
        self._pod = pod
        self._place = place
        self._restart_seconds = restart_seconds
        self._volumes = Volumes(client, directory / "volumes", place)
        self._deleted = asyncio.Event()
        self._is_ending = False
        self._is_gone = False
        self._runs: dict[str, Run] = {}
        self._news = asyncio.Event()
        self._report_lock = asyncio.Lock()
        self._reported: Object = {}
        self._emitted: set[tuple[str, str]] = set()
        self._record = PodRecord(
            address=place.address,
            host_address=place.host_address,
            started_at=now(),
            initial=[ContainerState(one["name"], one["image"]) for one in self._initial_specs],
            containers=[ContainerState(one["name"], one["image"]) for one in pod["spec"]["containers"]],
        )

    @property
    def _initial_specs(self) -> list[Object]:
        return self._pod["spec"].get("initContainers") or []

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
        return self._place.address

    def update(self, pod: Object) -> None:
        """Take a newer version of the object; a deletion timestamp begins the end."""
        self._pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def forget(self) -> None:
        """Take note that the object is gone: its processes have no right to go on."""
        self._is_gone = True
        self._deleted.set()

    def find_log(self, container: str, previous: bool) -> tuple[Path, Callable[[], bool]] | None:
        """Find a container's log and a way to ask whether it may still grow; None when there is none."""
        for state in [*self._record.initial, *self._record.containers]:
            number = state.restarts - (1 if previous else 0)
            log = self._directory / "containers" / container / f"{number}.log"
            if state.name == container and log.exists():
                return log, lambda: state.is_running and not previous
        return None

    async def run(self) -> None:
        """See the pod through from its start to its end."""
        reporter = asyncio.create_task(self._report_on_news())
        try:
            if not self._is_finished():
                await self._live_until_end()
                await self._report()
            await self._deleted.wait()
            await self._release()
        finally:
            reporter.cancel()
            shutil.rmtree(self._directory, ignore_errors=True)

    # A pod's life

    async def _live_until_end(self) -> None:
        life = asyncio.create_task(self._live())
        watches = [
            asyncio.create_task(self._deleted.wait()),
            asyncio.create_task(self._watch_deadline()),
            asyncio.create_task(self._watch_sizes()),
        ]
        try:
            await asyncio.wait([life, *watches], return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                await self._end(life)
            else:
                life.result()
        finally:
            for task in [life, *watches]:
                task.cancel()

    async def _live(self) -> None:
        self._news.set()
        if await self._fetch_images() and await self._lay_out_volumes():
            upkeep = asyncio.create_task(self._volumes.keep_current(self._pod))
            try:
                for spec, state in zip(self._initial_specs, self._record.initial, strict=True):
                    await self._run_container(spec, state, self._initial_policy())
                    if state.exit_code != 0:
                        return
                async with asyncio.TaskGroup() as tasks:
                    for spec, state in zip(self._pod["spec"]["containers"], self._record.containers, strict=True):
                        tasks.create_task(self._run_container(spec, state, self._policy()))
            finally:
                upkeep.cancel()

    def _policy(self) -> str:
        return str(self._pod["spec"].get("restartPolicy", "Always"))

    def _initial_policy(self) -> str:
        # An initial container has to succeed once; only a pod that never restarts gives up on it.
        return "Never" if self._policy() == "Never" else "OnFailure"

    async def _fetch_images(self) -> bool:
        """Wait until every image is known, as a kubelet waits for a registry."""
        pause = self._restart_seconds
        while True:
            images = read_registry(self._images)
            missing = [one for one in self._all_states() if find_image(images, one.image) is None]
            if not missing:
                return True
            for one in missing:
                words = f'failed to pull image "{one.image}": not found'
                one.wait_for("ErrImagePull", words)
                self._emit("Warning", "Failed", f"Error: ErrImagePull: {words}")
            self._news.set()
            await asyncio.sleep(min(pause, _RETRY_SECONDS))
            for one in missing:
                one.wait_for("ImagePullBackOff", f'Back-off pulling image "{one.image}"')
            self._news.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _all_states(self) -> list[ContainerState]:
        return [*self._record.initial, *self._record.containers]

    async def _lay_out_volumes(self) -> bool:
        async def lay_out() -> None:
            await self._volumes.lay_out(self._pod)

        await self._insist(lay_out, "FailedMount")
        return True

    async def _insist(self, attempt: Callable[[], Awaitable[None]], reason: str) -> None:
        """Try until it works; what is missing may yet come."""
        while True:
            try:
                await attempt()
            except (Missing, ApiError) as error:
                self._emit("Warning", reason, str(error))
            except Unreachable:
                pass
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    # A container's life

    async def _run_container(self, spec: Object, state: ContainerState, policy: str) -> None:
        pause = 0.0
        while True:
            sandbox = await self._build_sandbox(spec, state)
            begun = asyncio.get_running_loop().time()
            state.state = {"terminated": await self._run_once(spec, state, sandbox)}
            state.is_ready = state.is_started = False
            self._news.set()
            if self._is_ending or policy == "Never" or (policy == "OnFailure" and state.exit_code == 0):
                return
            if asyncio.get_running_loop().time() - begun > _RECOVERY_SECONDS:
                pause = 0.0
            await self._pause_before_restart(state, pause)
            pause = min(max(2 * pause, self._restart_seconds), _LONGEST_PAUSE_SECONDS)

    async def _pause_before_restart(self, state: ContainerState, pause_seconds: float) -> None:
        state.last = state.state
        if pause_seconds:
            words = f"back-off {pause_seconds:.0f}s restarting failed container={state.name} pod={self.name}"
            state.wait_for("CrashLoopBackOff", words)
            self._emit("Warning", "BackOff", f"Back-off restarting failed container {state.name}")
            self._news.set()
            await asyncio.sleep(pause_seconds)
        state.restarts += 1

    async def _build_sandbox(self, spec: Object, state: ContainerState) -> Sandbox:
        """Build what the container will see; a missing variable keeps it waiting, as a kubelet does."""
        while True:
            try:
                return await self._try_build_sandbox(spec)
            except Missing as error:
                if state.wait_for("CreateContainerConfigError", str(error)):
                    self._news.set()
                self._emit("Warning", "Failed", f"Error: {error}")
            except (ApiError, Unreachable):
                pass
            await asyncio.sleep(_RETRY_SECONDS)

    async def _try_build_sandbox(self, spec: Object) -> Sandbox:
        image = find_image(read_registry(self._images), spec["image"])
        if image is None:
            raise Missing(f'image "{spec["image"]}" is no longer in the registry')
        environment = await build_environment(self._client, self._pod, spec, self._place, self._inherit(image))
        return self._assemble(spec, image, environment)

    def _assemble(self, spec: Object, image: Image, environment: dict[str, str]) -> Sandbox:
        context = {**(self._pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
        user = int(context.get("runAsUser", image.user))
        mounts = self._volumes.build_mounts(spec, environment)
        mounts += build_account_files(self._directory / "etc", self.name, self._place.address, NONROOT)
        message_path = spec.get("terminationMessagePath") or _DEFAULT_MESSAGE_PATH
        message_file = self._container_directory(spec["name"]) / "termination-message"
        mounts.append(Mount(str(message_file), message_path, read_only=False))
        return Sandbox(
            image=image,
            command=build_command(spec, image.entry_point, image.arguments, environment),
            environment=environment,
            mounts=mounts,
            user=user,
            group=int(context.get("runAsGroup", user)),
            host_name=self._pod["spec"].get("hostname") or self.name[:63],
            working_directory=spec.get("workingDir") or image.working_directory,
            read_only_root=bool(context.get("readOnlyRootFilesystem", False)),
        )

    def _inherit(self, image: Image) -> dict[str, str]:
        host, port = self._client.server.removeprefix("https://").rsplit(":", 1)
        return {
            "HOSTNAME": self.name,
            **image.environment,
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }

    def _container_directory(self, name: str) -> Path:
        return self._directory / "containers" / name

    async def _run_once(self, spec: Object, state: ContainerState, sandbox: Sandbox) -> Object:
        limit = (spec.get("resources", {}).get("limits") or {}).get("memory")
        memory_bytes = None if limit is None else int(read_quantity(limit))
        run = Run(self._bubblewrap, self._container_directory(spec["name"]), state.restarts, memory_bytes)
        run.prepare()
        self._runs[spec["name"]] = run
        state.identity = run.identity
        probes: list[asyncio.Task[None]] = []

        def begin() -> None:
            state.state = {"running": {"startedAt": now()}}
            probes.extend(self._start_probes(spec, state, run))
            self._emit("Normal", "Started", f"Started container {state.name}")
            self._news.set()

        try:
            return await run.execute(sandbox, spec.get("terminationMessagePolicy", "File"), begin)
        finally:
            del self._runs[spec["name"]]
            for probe in probes:
                probe.cancel()

    def _start_probes(self, spec: Object, state: ContainerState, run: Run) -> list[asyncio.Task[None]]:
        def is_ready(passed: bool) -> None:
            state.is_ready = passed and state.is_running
            self._news.set()

        def is_started(passed: bool) -> None:
            if passed and not state.is_started:
                state.is_started = True
                if "readinessProbe" not in spec:
                    state.is_ready = True
                self._news.set()
                tasks.extend(begin("readinessProbe", is_ready) + begin("livenessProbe", is_alive))
            elif not passed:
                is_alive(False)

        def is_alive(passed: bool) -> None:
            if not passed:
                self._emit("Warning", "Unhealthy", f"Container {state.name} failed its probe and will be restarted")
                grace = float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
                tasks.append(asyncio.create_task(run.stop(grace)))

        def begin(kind: str, on_change: Callable[[bool], None]) -> list[asyncio.Task[None]]:
            if kind not in spec:
                return []
            probe = Probe(spec, spec[kind], self._place.address)
            if not probe.is_offered:
                self._emit("Warning", "ProbeNotOffered", f"This node does not run the {kind} of {state.name}")
                on_change(True)
                return []
            return [asyncio.create_task(probe.run(on_change))]

        tasks: list[asyncio.Task[None]] = []
        if "startupProbe" in spec:
            tasks += begin("startupProbe", is_started)
        else:
            is_started(True)
        return tasks

    # The end

    async def _watch_deadline(self) -> None:
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        if deadline is None:
            await asyncio.Event().wait()
        await asyncio.sleep(float(deadline))
        self._record.verdict = (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        )

    async def _watch_sizes(self) -> None:
        while True:
            await asyncio.sleep(_SIZE_POLL_SECONDS)
            overflow = self._volumes.find_overflow(self._pod)
            if overflow is not None:
                self._record.verdict = ("Evicted", overflow)
                self._emit("Warning", "Evicted", overflow)
                return

    async def _end(self, life: asyncio.Task[None]) -> None:
        """End every container, with the grace that the deletion or the spec gives."""
        self._is_ending = True
        metadata, spec = self._pod["metadata"], self._pod["spec"]
        grace = metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
        if self._is_gone or (self._record.verdict or ("", ""))[0] == "Evicted":
            grace = 0
        for name in self._runs:
            self._emit("Normal", "Killing", f"Stopping container {name}")
        running = list(self._runs.values())
        await asyncio.gather(*(run.stop(float(grace)) for run in running))
        if running:
            with contextlib.suppress(TimeoutError):
                # The runs have ended; this lets each write its last state.
                await asyncio.wait_for(asyncio.shield(life), timeout=_RETRY_SECONDS)
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        self._close()

    def _close(self) -> None:
        """Give every container that has not ended an end, so that the pod's phase is a final one."""
        for state in self._record.containers:
            if state.exit_code is None:
                words = "The container could not be located when the pod was terminated"
                state.state = {"terminated": build_termination(_KILLED_CODE, "ContainerStatusUnknown", words)}
            state.is_ready = state.is_started = False
        self._record.is_over = True

    def _is_finished(self) -> bool:
        """Whether the pod has had its life already, here or in an earlier life of this node.

        A node that ends takes its containers along; what ran then is reported as lost, or is started again.
        """
        status = self._pod.get("status", {})
        if status.get("phase") == "Running" and self._policy() == "Never":
            self._close()
            self._news.set()
        elif status.get("phase") == "Running":
            for state, known in zip(self._record.containers, status.get("containerStatuses") or (), strict=False):
                state.restarts = known.get("restartCount", 0) + 1
        return self._record.is_over or status.get("phase") in ("Succeeded", "Failed")

    async def _release(self) -> None:
        """Let the object go, now that nothing of the pod runs any more."""
        metadata = self._pod["metadata"]
        if self._is_gone or not metadata.get("deletionTimestamp"):
            return
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}

        async def delete() -> None:
            try:
                await self._client.delete(self._path, body)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise

        await self._insist(delete, "FailedKillPod")

    # What others are told

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    async def _report_on_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._report()

    async def _report(self) -> None:
        """Write the status if it has changed, and insist until the API has it."""
        async with self._report_lock:
            while not self._is_gone:
                status = build_status(self._pod, self._record, now())
                if status == self._reported:
                    return
                body = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
                try:
                    await self._client.patch(f"{self._path}/status", body, STRATEGIC)
                except ApiError as error:
                    # Gone, or another pod of the same name: there is nobody to tell.
                    if error.status in (404, 409):
                        return
                    _log.warning("status of pod %s/%s was refused: %s", self.namespace, self.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                except Unreachable:
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._reported = status

    def _emit(self, kind: str, reason: str, message: str) -> None:
        """Write an Event, once for each thing that there is to say; nobody waits for it."""
        if (reason, message) not in self._emitted:
            self._emitted.add((reason, message))
            task = asyncio.create_task(self._write_event(kind, reason, message[:1024]))
            _BACKGROUND.add(task)
            task.add_done_callback(_BACKGROUND.discard)

    async def _write_event(self, kind: str, reason: str, message: str) -> None:
        moment = datetime.datetime.now(datetime.UTC)
        reference = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "namespace": self.namespace}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{self.name}.{moment.timestamp():.6f}".replace(".", "-")},
            "involvedObject": {**reference, "uid": self._pod["metadata"]["uid"]},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._place.node},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        # An Event is a courtesy: its loss changes nothing.
        with contextlib.suppress(ApiError, Unreachable):
            await self._client.create(f"/api/v1/namespaces/{self.namespace}/events", body)


_BACKGROUND: set[asyncio.Task[None]] = set()
"""Events on their way; the event loop itself keeps only weak references to tasks."""
