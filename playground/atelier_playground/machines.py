"""Nodes as a cluster's owner handles them: started, lost, healed and ended, each a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atelier_playground.controlplane import ControlPlane
from atelier_playground.node.settings import Settings, write_settings
from atelier_playground.processes import Child

# More than most machines have, on purpose: on a playground nothing should wait for room that a test did not take.
GENEROUS = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250", "nvidia.com/gpu": "8"}


@dataclass
class Machine:
    """One node.

    Args:
        control_plane: the cluster to join; it must have been told the name before it started.
        directory: where the node keeps its pods; other nodes of the cluster lie beside it.
        images: the registry file.
        name: the Node's name.
        capacity: resource name → quantity.
        labels: extra labels of the Node.
        restart_seconds: the first pause between restarts of a failing container.
        serves_claims: whether the cluster's provisioner runs beside this node.
    """

    control_plane: ControlPlane
    directory: Path
    images: Path
    name: str
    capacity: Mapping[str, str] = field(default_factory=lambda: dict(GENEROUS))
    labels: Mapping[str, str] = field(default_factory=dict)
    restart_seconds: float = 10
    serves_claims: bool = False

    def start(self) -> None:
        """Start the node's process; it registers itself a moment later."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            name=self.name,
            kubeconfig=str(self.control_plane.kubeconfig_of(self.name)),
            directory=str(self.directory),
            keys=str(self.control_plane.keys),
            images=str(self.images),
            capacity=self.capacity,
            labels=self.labels,
            # The lost-node grace is four beats and more, so that one late beat on a busy machine loses nothing.
            heartbeat_seconds=min(10.0, self.control_plane.patience.node_grace_seconds / 5),
            restart_seconds=self.restart_seconds,
            provisioner=str(self.control_plane.kubeconfig) if self.serves_claims else None,
        )
        path = self.directory / "settings.json"
        write_settings(path, settings)
        command: list[str | Path] = [sys.executable, "-m", "atelier_playground.node", path]
        log = self.directory / "node.log"
        # SIGKILL on the owner's death, because a lost node is a stopped process, which no other signal ends.
        self._child = Child(f"node {self.name}", command, log, death_signal=signal.SIGKILL)

    def stop(self) -> None:
        """End the node and every container on it."""
        self._child.signal(signal.SIGCONT)
        self._child.stop()

    def lose(self) -> None:
        """Let the node fall silent while its containers go on: a machine cut off from the network."""
        self._child.signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Let a lost node speak again."""
        self._child.signal(signal.SIGCONT)

    def crash(self) -> None:
        """End the node and every container on it at once: a machine without power."""
        self._child.kill()

    @property
    def pid(self) -> int:
        """The process id of the node."""
        return self._child.pid

    def is_running(self) -> bool:
        """Whether the node's process is there."""
        return self._child.is_running()

    def find_program(self, pod_uid: str, container: str) -> int | None:
        """The process id, on this machine, of a running container's program; None when it does not run."""
        path = self.directory / "pods" / pod_uid / "containers" / container / "pid"
        try:
            return int(path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def kill_program(self, pod_uid: str, container: str) -> bool:
        """Kill a container's program as `kill -9` would. Returns whether there was one to kill."""
        program = self.find_program(pod_uid, container)
        if program is None:
            return False
        os.kill(program, signal.SIGKILL)
        return True
