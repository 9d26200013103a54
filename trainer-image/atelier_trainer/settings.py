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
from typing import Literal, cast, get_args

from atelier_contract import names
from atelier_trainer.errors import InvalidInput, StorageNotConfigured

POD_IDENTITY_VARIABLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
"""Set in a pod whose service account has an identity at the store: IRSA, and EKS Pod Identity. The identity of the
node (instance metadata) is left out on purpose: it belongs to the cluster, not to the namespace."""
AddressingStyle = Literal["path", "virtual", "auto"]


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
        return path.read_text().strip() if path.is_file() else None


@dataclass(frozen=True)
class BucketDescription:
    """What a Secret says of a bucket and how to reach it."""

    secret_name: str
    """For messages."""
    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    """None: the cloud's own endpoint of the region."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    """None: the service account brings its own identity."""
    secret_access_key: str | None = None
    ca_bundle: Path | None = None
    """File with the certificates to trust; None: the system's."""
    addressing_style: AddressingStyle = "path"
    """`path` works with every server; `virtual` is what some clouds ask for."""


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


def read_bucket(folder: Path, secret_name: str, has_pod_identity: bool, bucket: str = "") -> BucketDescription:
    """Read the mounted keys of a Secret that describes a bucket.

    Args:
        folder: where the keys lie as files. A missing Secret leaves it empty: its volume is optional.
        secret_name: name of the Secret, for messages.
        has_pod_identity: whether the two keys of an access may be left out.
        bucket: a bucket named elsewhere (an `s3://` address), which the Secret need not name.

    Raises:
        StorageNotConfigured: the Secret is missing, or lacks keys; all that are missing are named at once.
    """
    values = {key: _read_key(folder, key) for key in names.STORE_KEYS}
    missing = [] if values[names.KEY_BUCKET] or bucket else [names.KEY_BUCKET]
    if not values[names.KEY_ENDPOINT] and not values[names.KEY_REGION]:
        missing.append(f"{names.KEY_ENDPOINT} (or {names.KEY_REGION} for the cloud's own)")
    access = [values[names.KEY_ACCESS_KEY_ID], values[names.KEY_SECRET_ACCESS_KEY]]
    if not all(access) and not (has_pod_identity and not any(access)):
        missing += [key for key in (names.KEY_ACCESS_KEY_ID, names.KEY_SECRET_ACCESS_KEY) if not values[key]]
    if missing:
        raise StorageNotConfigured(_describe_missing(secret_name, missing, nothing_there=not any(values.values())))
    bundle = folder / names.KEY_CA_BUNDLE
    return BucketDescription(
        secret_name=secret_name,
        bucket=bucket or values[names.KEY_BUCKET],
        prefix=values[names.KEY_PREFIX].strip("/"),
        endpoint=values[names.KEY_ENDPOINT] or None,
        region=values[names.KEY_REGION] or "us-east-1",
        access_key_id=values[names.KEY_ACCESS_KEY_ID] or None,
        secret_access_key=values[names.KEY_SECRET_ACCESS_KEY] or None,
        ca_bundle=bundle if values[names.KEY_CA_BUNDLE] else None,
        addressing_style=_read_style(values[names.KEY_ADDRESSING_STYLE], secret_name),
    )


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


def _read_style(value: str, secret_name: str) -> AddressingStyle:
    for style in get_args(AddressingStyle):
        if (value or "path") == style:
            return cast("AddressingStyle", style)
    raise StorageNotConfigured(
        f"Secret {secret_name}: {names.KEY_ADDRESSING_STYLE} is {value!r}: write path or virtual, or leave it out"
    )


def _read_key(folder: Path, key: str) -> str:
    path = folder / key
    return path.read_text().strip() if path.is_file() else ""


def _describe_missing(secret_name: str, missing: list[str], nothing_there: bool) -> str:
    keys = ", ".join(missing)
    if nothing_there:
        return (
            f"Secret {secret_name} is missing in this namespace or holds none of the keys that describe a store: "
            f"create it with {keys}"
        )
    return f"Secret {secret_name} lacks {keys}: add what is missing"
