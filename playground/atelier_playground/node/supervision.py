"""One container over its whole life: what it sees, its runs, its restarts, its probes, its end.

In come the container's spec and the pod's surroundings; what happens is written into a `ContainerState`, and whoever
makes the pod's status is told that there is news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atelier_playground.errors import ApiError
from atelier_playground.images import NONROOT, Image, find_image, read_registry
from atelier_playground.node.client import Client, Object, Unreachable
from atelier_playground.node.container import ContainerState, Run, now
from atelier_playground.node.environment import build_command, build_environment
from atelier_playground.node.events import Recorder
from atelier_playground.node.probes import Probe
from atelier_playground.node.quantities import read_quantity
from atelier_playground.node.sandbox import Mount, Sandbox, build_account_files
from atelier_playground.node.sources import Missing, Place
from atelier_playground.node.volumes import Volumes

_RETRY_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
# A container that has run this long is taken to be well again, and its next pause is short (as the kubelet does).
_RECOVERY_SECONDS = 600.0
_DEFAULT_MESSAGE_PATH = "/dev/termination-log"


@dataclass(frozen=True)
class Surroundings:
    """What a pod's containers share.

    Attributes:
        client: the API.
        bubblewrap: the sandbox program.
        images: the registry file.
        directory: the pod's own directory.
        place: where the pod runs.
        restart_seconds: the first pause between restarts.
    """

    client: Client
    bubblewrap: Path
    images: Path
    directory: Path
    place: Place
    restart_seconds: float


class Supervisor:
    """One container.

    Args:
        surroundings: what the pod's containers share.
        pod: the pod.
        spec: the container.
        state: where its state is written.
        volumes: the pod's volumes.
        events: the pod's Events.
        on_news: called when the state has changed.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        pod: Object,
        *,
        spec: Object,
        state: ContainerState,
        volumes: Volumes,
        events: Recorder,
        on_news: Callable[[], None],
    ) -> None:
        self._around = surroundings
        self._pod = pod
        self._spec = spec
        self._state = state
        self._volumes = volumes
        self._events = events
        self._on_news = on_news
        self._run: Run | None = None
        self._is_ending = False
        self._probes: list[asyncio.Task[None]] = []

    @property
    def directory(self) -> Path:
        """The container's own directory: logs, termination message, process id."""
        return self._around.directory / "containers" / self._state.name

    async def keep(self, policy: str) -> None:
        """Run the container again and again, as far as the restart policy wants it."""
        pause = 0.0
        while True:
            sandbox = await self._wait_for_sandbox()
            begun = asyncio.get_running_loop().time()
            self._state.state = {"terminated": await self._run_once(sandbox)}
            self._state.is_ready = self._state.is_started = False
            self._on_news()
            if self._is_ending or policy == "Never" or (policy == "OnFailure" and self._state.exit_code == 0):
                return
            if asyncio.get_running_loop().time() - begun > _RECOVERY_SECONDS:
                pause = 0.0
            await self._pause(pause)
            pause = min(max(2 * pause, self._around.restart_seconds), LONGEST_PAUSE_SECONDS)

    async def stop(self, grace_seconds: float) -> None:
        """End the container for good: SIGTERM, grace, SIGKILL."""
        self._is_ending = True
        if self._run is not None:
            self._events.say("Killing", f"Stopping container {self._state.name}")
            await self._run.stop(grace_seconds)

    async def _pause(self, seconds: float) -> None:
        self._state.last = self._state.state
        if seconds:
            words = f"back-off {seconds:.0f}s restarting failed container={self._state.name}"
            self._state.wait_for("CrashLoopBackOff", words)
            self._events.warn("BackOff", f"Back-off restarting failed container {self._state.name}")
            self._on_news()
            await asyncio.sleep(seconds)
        self._state.restarts += 1

    # What it sees

    async def _wait_for_sandbox(self) -> Sandbox:
        """Build what the container will see; a missing variable keeps it waiting, as a kubelet does."""
        while True:
            try:
                return await self._build_sandbox()
            except Missing as error:
                if self._state.wait_for("CreateContainerConfigError", str(error)):
                    self._on_news()
                self._events.warn("Failed", f"Error: {error}")
            except (ApiError, Unreachable) as error:
                self._events.warn("Failed", f"Error: {error}")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _build_sandbox(self) -> Sandbox:
        image = find_image(read_registry(self._around.images), self._spec["image"])
        if image is None:
            raise Missing(f'image "{self._spec["image"]}" is no longer in the registry')
        environment = await build_environment(
            self._around.client, self._pod, self._spec, self._around.place, self._inherit(image)
        )
        context = {**(self._pod["spec"].get("securityContext") or {}), **(self._spec.get("securityContext") or {})}
        user = int(context.get("runAsUser", image.user))
        name = self._pod["metadata"]["name"]
        return Sandbox(
            image=image,
            command=build_command(self._spec, image.entry_point, image.arguments, environment),
            environment=environment,
            mounts=self._build_mounts(name, environment),
            user=user,
            group=int(context.get("runAsGroup", user)),
            host_name=self._pod["spec"].get("hostname") or name[:63],
            working_directory=self._spec.get("workingDir") or image.working_directory,
            read_only_root=bool(context.get("readOnlyRootFilesystem", False)),
        )

    def _build_mounts(self, host_name: str, environment: dict[str, str]) -> list[Mount]:
        message_path = self._spec.get("terminationMessagePath") or _DEFAULT_MESSAGE_PATH
        return [
            *self._volumes.build_mounts(self._spec, environment),
            *build_account_files(self._around.directory / "etc", host_name, self._around.place.address, NONROOT),
            Mount(str(self.directory / "termination-message"), message_path, read_only=False),
        ]

    def _inherit(self, image: Image) -> dict[str, str]:
        host, port = self._around.client.server.removeprefix("https://").rsplit(":", 1)
        return {
            "HOSTNAME": self._pod["metadata"]["name"],
            **image.environment,
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }

    # One run

    async def _run_once(self, sandbox: Sandbox) -> Object:
        limit = (self._spec.get("resources", {}).get("limits") or {}).get("memory")
        memory_bytes = None if limit is None else int(read_quantity(limit))
        run = Run(self._around.bubblewrap, self.directory, self._state.restarts, memory_bytes)
        run.prepare()
        self._run = run
        self._state.identity = run.identity
        try:
            return await run.execute(sandbox, self._spec.get("terminationMessagePolicy", "File"), self._begin)
        finally:
            self._run = None
            for probe in self._probes:
                probe.cancel()
            self._probes.clear()

    def _begin(self) -> None:
        self._state.state = {"running": {"startedAt": now()}}
        self._events.say("Started", f"Started container {self._state.name}")
        if "startupProbe" in self._spec:
            self._ask("startupProbe", self._take_startup)
        else:
            self._take_startup(True)
        self._on_news()

    def _ask(self, kind: str, on_answer: Callable[[bool], None]) -> None:
        probe = Probe(self._spec, self._spec[kind], self._around.place.address)
        if probe.is_offered:
            self._probes.append(asyncio.create_task(probe.run(on_answer)))
        else:
            self._events.warn("ProbeNotOffered", f"This node does not run the {kind} of {self._state.name}")
            on_answer(True)

    def _take_startup(self, passed: bool) -> None:
        if not passed:
            self._take_liveness(False)
        elif not self._state.is_started:
            self._state.is_started = True
            self._state.is_ready = "readinessProbe" not in self._spec
            if "readinessProbe" in self._spec:
                self._ask("readinessProbe", self._take_readiness)
            if "livenessProbe" in self._spec:
                self._ask("livenessProbe", self._take_liveness)
            self._on_news()

    def _take_readiness(self, passed: bool) -> None:
        self._state.is_ready = passed and self._state.is_running
        self._on_news()

    def _take_liveness(self, passed: bool) -> None:
        if passed or self._run is None:
            return
        self._events.warn("Unhealthy", f"Container {self._state.name} failed its probe and will be restarted")
        grace = float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
        # Among the probes, so that it is held and ends with the run that it ends.
        self._probes.append(asyncio.create_task(self._run.stop(grace)))
