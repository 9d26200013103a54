"""Child processes of the playground: each with its own log, none outliving the process that started it.

In comes a command line; out goes a handle that can be asked, waited for and ended. It ends only what it started, by
process id. It knows nothing of what the processes do.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from atelier_playground.errors import StartFailed

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")
_POLL_SECONDS = 0.05
_PORTS = range(20_000, 30_000)
"""Below the ports of NodePorts, and mostly below those of outgoing connections."""
_LOWEST_PORT = 10_000
_FEWEST_PORTS = 1_000
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""First and last port of outgoing connections: ip(7). Mostly 32,768 to 60,999."""
_given: set[int] = set()
"""Ports that this process has chosen already: whoever asked has perhaps not bound them yet."""


def choose_port() -> int:
    """Choose a free port on loopback, to start a server on at once.

    It lies where no connection of another process can take it meanwhile: servers, whose ports are chosen as here, are
    few, but outgoing connections are many, and the kernel gives them the very ports that it gives to who asks for any.
    """
    while True:
        port = secrets.choice(list_ports())
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def list_ports() -> range:
    """Return the ports to choose from: none of outgoing connections, where the machine leaves room below those."""
    first = int(_OUTGOING.read_text().split()[0])
    if first >= _PORTS.stop:
        return _PORTS
    room = range(_LOWEST_PORT, first)
    return room if len(room) >= _FEWEST_PORTS else _PORTS


def is_listening(port: int) -> bool:
    """Return whether anything listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One process, from its start to its end.

    Args:
        name: what messages call it.
        command: the program (an absolute path) and its arguments.
        log: where its output is appended.
        environment: the whole environment; default: this process's own.
        death_signal: what the kernel sends it when the starting process ends. SIGTERM lets a server end in order;
            a process that may be stopped (SIGSTOP) needs SIGKILL, which alone reaches it then.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        words = [os.fspath(word) for word in command]
        launch = [sys.executable, "-I", "-S", os.fspath(_LAUNCHER), str(int(death_signal)), str(os.getpid())]
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*launch, *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                # A group of its own, so that Ctrl-C at the terminal reaches the owner alone, which ends it in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; the launcher becomes the program, so it never changes."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until a fact about the process is true.

        Raises:
            StartFailed: the process ended first, or the time ran out; the message ends with its last words.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            # Asked first: on the port of a server that could not bind it another one may answer.
            if not self.is_running():
                raise StartFailed(f"{self.name} ended with {self._process.returncode}; {self._last_words()}")
            if is_ready():
                return
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready after {timeout_seconds:.0f} s; {self._last_words()}")
            time.sleep(_POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        if self.is_running():
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, without a chance to tidy up."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_seconds: float = 10) -> None:
        """End it: SIGTERM, and SIGKILL when the grace is over."""
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _last_words(self) -> str:
        words = self.log.read_text(errors="replace").splitlines()[-12:]
        return f"its log {self.log} ends:\n" + "\n".join(words)
