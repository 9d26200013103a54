"""One container: its runs, its log, its termination message, and how it is ended.

In comes a `Sandbox`; out goes a `ContainerState` that the pod's status is made from. A run is one bubblewrap process,
whose child is the program as process 1 of its own name space. It knows nothing of pods, volumes or the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from atelier_playground.node.client import Object
from atelier_playground.node.sandbox import Sandbox, build_options

# pkg/kubelet/container/runtime.go: MaxContainerTerminationMessageLength and its companions for logs.
_MESSAGE_BYTES = 4096
_LOG_MESSAGE_BYTES = 2048
_LOG_MESSAGE_LINES = 80
# What a runtime reports when the program could not be started at all.
_START_ERROR_CODE = 128
_KILLED_CODE = 128 + signal.SIGKILL
_MEMORY_POLL_SECONDS = 1.0


def now() -> str:
    """This moment, as the API writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_termination(
    code: int, reason: str, message: str = "", started: str | None = None, identity: str = ""
) -> Object:
    """Build the `terminated` state of a container."""
    moment = now()
    record: Object = {
        "exitCode": code,
        "reason": reason,
        "startedAt": started or moment,
        "finishedAt": moment,
    }
    if message:
        record["message"] = message
    if identity:
        record["containerID"] = identity
    return record


@dataclass
class ContainerState:
    """What the status says of one container.

    Attributes:
        state: one of `waiting`, `running`, `terminated`, as the API writes it.
        last: the state before the last restart.
        is_ready: whether its probes hold.
    """

    name: str
    image: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    identity: str = ""
    is_started: bool = False
    is_ready: bool = False

    @property
    def exit_code(self) -> int | None:
        """The exit code of an ended container."""
        terminated = self.state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    @property
    def is_running(self) -> bool:
        """Whether its program runs."""
        return "running" in self.state

    def wait_for(self, reason: str, message: str = "") -> bool:
        """Set it waiting. Returns whether that is news."""
        waiting = {"reason": reason, **({"message": message} if message else {})}
        if self.state == {"waiting": waiting}:
            return False
        self.state = {"waiting": waiting}
        self.is_ready = self.is_started = False
        return True


class Run:
    """One run of a container's program.

    Args:
        bubblewrap: the sandbox program.
        directory: the container's own directory, for its logs and its termination message.
        number: how many runs there were before.
        memory_bytes: above this the program is killed as out of memory; None: no limit.
    """

    def __init__(self, bubblewrap: Path, directory: Path, number: int, memory_bytes: int | None) -> None:
        self._bubblewrap = bubblewrap
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._program: int | None = None
        self._is_out_of_memory = False
        self.identity = f"sandbox://{directory.parent.parent.name}-{directory.name}-{number}"
        self.log = directory / f"{number}.log"
        self.message_file = directory / "termination-message"

    def prepare(self) -> None:
        """Make the empty files that the run writes into."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self.message_file.write_bytes(b"")
        self.message_file.chmod(0o666)

    async def execute(self, sandbox: Sandbox, message_policy: str, on_start: Callable[[], None]) -> Object:
        """Run the program to its end.

        Args:
            sandbox: what it sees.
            message_policy: `File` or `FallbackToLogsOnError`.
            on_start: called once the program runs.

        Returns:
            The `terminated` state.
        """
        started = now()
        with self.log.open("ab") as log, _pass_options(build_options(sandbox)) as options:
            self._program = await self._start(options, sandbox.command, log)
        if self._process is None or self._program is None:
            return build_termination(_START_ERROR_CODE, "StartError", self._read_log_end(), started, self.identity)
        (self._directory / "pid").write_text(f"{self._program}\n")
        on_start()
        watch = asyncio.create_task(self._watch_memory())
        try:
            code = await self._process.wait()
            if code < 0:
                # Bubblewrap itself was killed, and the program with it.
                code = 128 - code
        finally:
            watch.cancel()
            self._kill()
            (self._directory / "pid").unlink(missing_ok=True)
        reason = "OOMKilled" if self._is_out_of_memory else "Completed" if code == 0 else "Error"
        message = self._read_message(message_policy, code)
        return build_termination(code, reason, message, started, self.identity)

    async def _start(self, options: int, command: Sequence[str], log: IO[bytes]) -> int | None:
        """Start bubblewrap. Returns the program's process id, or None when the sandbox could not be made."""
        reading, writing = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._bubblewrap,
                # Options hold the environment, and other users of the machine can read a process's arguments.
                *("--args", str(options), "--info-fd", str(writing), "--", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(options, writing),
                env={},
            )
        finally:
            os.close(writing)
        # Ends when bubblewrap has closed its end: at once, or when it has failed.
        text = await asyncio.to_thread(_read_all, reading)
        if not text:
            await self._process.wait()
            return None
        return int(json.loads(text)["child-pid"])

    async def stop(self, grace_seconds: float) -> None:
        """End the run: SIGTERM to the program, SIGKILL when the grace is over."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout=max(0.0, grace_seconds))
        except TimeoutError:
            self._kill()
            await self._process.wait()

    def _kill(self) -> None:
        # The program's name space goes with it, and with that every process it has started.
        self._signal(signal.SIGKILL)
        if self._program is None and self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None and self._program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._program, number)

    async def _watch_memory(self) -> None:
        while self._memory_bytes is not None and self._program is not None:
            if measure_memory_bytes(self._program) > self._memory_bytes:
                self._is_out_of_memory = True
                self._kill()
                return
            await asyncio.sleep(_MEMORY_POLL_SECONDS)

    def _read_message(self, policy: str, code: int) -> str:
        message = _read_end(self.message_file, _MESSAGE_BYTES)
        if not message and policy == "FallbackToLogsOnError" and code != 0:
            return self._read_log_end()
        return message

    def _read_log_end(self) -> str:
        lines = _read_end(self.log, _LOG_MESSAGE_BYTES).splitlines(keepends=True)
        return "".join(lines[-_LOG_MESSAGE_LINES:])


@contextlib.contextmanager
def _pass_options(words: Sequence[str]) -> Iterator[int]:
    """Offer options in a file without a name, as bubblewrap's `--args` reads them."""
    descriptor = os.memfd_create("options")
    try:
        os.write(descriptor, b"\0".join(word.encode() for word in words))
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    """Read a file descriptor to its end, and close it."""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _read_end(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file, as the kubelet reads messages."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        return file.read(limit).decode(errors="replace")


def measure_memory_bytes(program: int) -> int:
    """Measure what a control group would charge a program and its descendants for: anonymous and shared memory."""
    total = 0
    waiting = [program]
    while waiting:
        pid = waiting.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in status.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total
