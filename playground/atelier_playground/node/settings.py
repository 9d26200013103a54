"""What a node is told when it starts: one JSON document on the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings of one node.

    Attributes:
        name: the Node's name; the kubeconfig must be of user `system:node:<name>`.
        kubeconfig: how it reaches the API server.
        directory: where it keeps pods, volumes and logs.
        keys: a directory with node.crt, node.key and ca.crt, for its log server.
        images: the registry file.
        capacity: resource name → quantity; more than the machine has is allowed, so that requests never wait.
        labels: extra labels of the Node.
        heartbeat_seconds: how often the Lease is renewed.
        restart_seconds: the first pause between restarts of a failing container; it doubles up to 300
            (the kubelet's numbers are 10 and 300).
        provisioner: a kubeconfig with the rights to make volumes, on the one node that serves claims; else None.
    """

    name: str
    kubeconfig: str
    directory: str
    keys: str
    images: str
    capacity: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    heartbeat_seconds: float = 10
    restart_seconds: float = 10
    provisioner: str | None = None


def write_settings(path: Path, settings: Settings) -> None:
    """Write settings for `read_settings`."""
    path.write_text(json.dumps(dataclasses.asdict(settings), indent=1) + "\n")


def read_settings(path: Path) -> Settings:
    """Read settings from a file."""
    return Settings(**json.loads(path.read_text()))
