"""Everything the container is given besides the network: the only reader of the environment and of what is mounted.

In: the environment, and the folders that the pod's volumes fill. Out: plain frozen values. It may not know what a
store does with its description, nor what a subcommand is for. In tests and local runs one folder stands for `/`
(`names.ENV_ROOT`), so that nothing else needs to be told where things are.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atelier_contract import names
from atelier_materials.errors import InvalidInput

POD_IDENTITY_VARIABLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
"""Set in a pod whose service account has an identity at the store: IRSA, and EKS Pod Identity. The identity of the
node (instance metadata) is left out on purpose: it belongs to the cluster, not to the namespace."""


@dataclass(frozen=True)
class Crew:
    """How many processes train together, and which pod of theirs this is."""

    processes: int = 1
    """In this pod, one for each GPU."""
    nodes: int = 1
    """Pods, each with as many processes."""
    node_index: int = 0
    leader_address: str = ""
    """Where rank 0 is found, as `host:port`; empty: in this pod."""

    @property
    def is_alone(self) -> bool:
        """Whether one process is all."""
        return self.processes * self.nodes == 1

    @property
    def leads(self) -> bool:
        """Whether rank 0 is in this pod: it alone serves progress and writes."""
        return self.node_index == 0


@dataclass(frozen=True)
class TrainerSettings:
    """Where things lie and who this pod is."""

    root: Path
    input_dir: Path
    pod_ip: str
    """Address to serve progress on; empty: progress is not served."""
    attempt: str
    """Id of this attempt: the pod's UID, so that no key in the store is ever used twice."""
    has_pod_identity: bool
    """Whether the service account brings credentials of its own."""
    ephemeral_bytes: int | None = None
    """What the pod may write to its disk; None: nobody said."""
    crew: Crew = Crew()

    def place(self, path: str) -> Path:
        """Return where one of the contract's absolute paths lies under this root."""
        return self.root / path.lstrip("/")

    @property
    def scratch_dir(self) -> Path:
        """Folder for pictures, weights and checkpoints in the making."""
        return self.place(names.SCRATCH_DIR)

    @property
    def termination_path(self) -> Path:
        """File that takes the pod's last words."""
        return self.place(names.TERMINATION_PATH)

    def read_token(self, key: str) -> str | None:
        """Return a mounted token, or None where it is not there."""
        path = self.place(names.TOKEN_DIR) / key
        return path.read_text(errors="replace").strip() if path.is_file() else None


def read_settings(environment: Mapping[str, str]) -> TrainerSettings:
    """Read the container's environment.

    Raises:
        InvalidInput: a number in it is none.
    """
    root = Path(environment.get(names.ENV_ROOT) or "/")
    given = environment.get(names.ENV_INPUT_DIR)
    return TrainerSettings(
        root=root,
        input_dir=Path(given) if given else root / names.INPUT_DIR.lstrip("/"),
        pod_ip=environment.get(names.ENV_POD_IP, ""),
        attempt=environment.get(names.ENV_POD_UID) or f"local-{uuid.uuid4().hex}",
        has_pod_identity=any(environment.get(name) for name in POD_IDENTITY_VARIABLES),
        ephemeral_bytes=_read_number(environment, names.ENV_EPHEMERAL_BYTES, 0) or None,
        crew=_read_crew(environment),
    )


@contextmanager
def inherited(told: Mapping[str, str]) -> Iterator[None]:
    """Let processes that are started within the block find these values in their environment too."""
    before = dict(os.environ)
    os.environ.update(told)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _read_crew(environment: Mapping[str, str]) -> Crew:
    nodes = _read_number(environment, names.ENV_NODES, 1)
    port = environment.get(names.ENV_LEADER_PORT) or names.LEADER_PORT
    return Crew(
        processes=_read_number(environment, names.ENV_PROCESSES, 1),
        nodes=nodes,
        node_index=_read_number(environment, names.ENV_NODE_INDEX, 0) if nodes > 1 else 0,
        leader_address=f"{environment.get(names.ENV_LEADER_ADDRESS, '')}:{port}" if nodes > 1 else "",
    )


def _read_number(environment: Mapping[str, str], name: str, least: int) -> int:
    """Return a whole number of the environment; the least where it is not set."""
    value = environment.get(name) or str(least)
    if not value.isdecimal() or int(value) < least:
        raise InvalidInput(f"{name} is {value!r}: write a whole number from {least} on, or leave it out")
    return int(value)
