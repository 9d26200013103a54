"""Three S3 servers of different makers on loopback, each started at the first test that asks and ended after the last.

rclone (a gateway over a folder), moto (an imitation of the cloud's own, in Python) and seaweedfs (a distributed store):
where they differ, our store must not. Each test gets an empty bucket of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from atelier_contract import names
from atelier_materials.store.bucket import BucketDescription
from atelier_playground.binaries import find_in_environment
from atelier_playground.processes import Child, choose_port
from atelier_playground.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server

READY_SECONDS = 120
MEMORY = Path("/dev/shm")
MOST_BYTES = 4 << 30
"""What the buckets of a whole run of the tests may grow to: none is emptied before its server ends."""
SERVERS = ("rclone", "moto", "seaweedfs")
SERVERS_THAT_CHECK_KEYS = ("rclone", "seaweedfs")
"""moto takes every signature."""
# Its gateways leave their local sockets here, named by port, when they are killed.
SEAWEED_SOCKETS = Path("/tmp")


@dataclass(frozen=True)
class RunningServer:
    """An S3 server that answers."""

    name: str
    endpoint: str
    client: Any

    def make_bucket(self) -> BucketDescription:
        """Make an empty bucket, through the protocol: what is made beside a server it may not see."""
        description = describe(self.endpoint, f"b{uuid.uuid4().hex[:12]}")
        self.client.create_bucket(Bucket=description.bucket)
        return description


def describe(endpoint: str, bucket: str) -> BucketDescription:
    """Return a bucket of one of these servers, as a Secret would describe it."""
    return BucketDescription(
        secret_name=names.STORE_SECRET,
        bucket=bucket,
        prefix="atelier",
        endpoint=endpoint,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
    )


def build_client(description: BucketDescription) -> Any:
    """Return a plain client of such a bucket, for what our own store does not do."""
    return boto3.client(
        "s3",
        endpoint_url=description.endpoint,
        region_name=description.region,
        aws_access_key_id=description.access_key_id,
        aws_secret_access_key=description.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@contextmanager
def run_rclone(folder: Path) -> Iterator[RunningServer]:
    """Run `rclone serve s3`."""
    server = S3Server(folder / "buckets", folder / "rclone.log")
    server.start()
    try:
        yield RunningServer("rclone", server.endpoint, build_client(describe(server.endpoint, "probe")))
    finally:
        server.stop()


@contextmanager
def run_moto(folder: Path) -> Iterator[RunningServer]:
    """Run moto's server."""
    port = choose_port()
    command = [find_in_environment("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with run_child("moto", command, folder, f"http://127.0.0.1:{port}") as server:
        yield server


@contextmanager
def run_seaweedfs(folder: Path) -> Iterator[RunningServer]:
    """Run seaweedfs: master, volume server, filer and gateway in one process."""
    identity = {
        "name": ACCESS_KEY,
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    parts = ("master", "volume", "filer", "s3")
    ports = {f"{part}.port{kind}": choose_port() for part in parts for kind in ("", ".grpc")}
    command = [
        *(find_in_environment("weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-filer", "-s3", f"-s3.config={folder / 'identities.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}={port}" for name, port in ports.items()),
        # Every bucket takes seven volumes of its own, and every test a bucket.
        *("-volume.max=10000", "-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s"),
        "-master.telemetry=false",
    ]
    try:
        with run_child("seaweedfs", command, folder, f"http://127.0.0.1:{ports['s3.port']}") as server:
            yield server
    finally:
        for port in ports.values():
            for left in SEAWEED_SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


@contextmanager
def run_child(name: str, command: list[str | Path], folder: Path, endpoint: str) -> Iterator[RunningServer]:
    """Run a server until the block ends; it keeps nothing, so it is simply killed."""
    child = Child(name, command, folder / f"{name}.log")
    try:
        probe = build_client(describe(endpoint, "probe"))
        child.wait_until(lambda: _answers(probe), READY_SECONDS)
        yield RunningServer(name, endpoint, probe)
    finally:
        child.kill()


def _answers(client) -> bool:
    # A name of its own for each try: where the bucket was made and the object refused, it could not be made again.
    bucket = f"readiness-{uuid.uuid4().hex[:12]}"
    try:
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="a", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    return True


@contextmanager
def in_memory(run: Callable[[Path], AbstractContextManager[RunningServer]]) -> Iterator[RunningServer]:
    """Run a server over a folder in memory, where the machine has one."""
    with open_folder_in_memory() as folder, run(folder) as server:
        yield server


@contextmanager
def open_folder_in_memory() -> Iterator[Path]:
    """Yield an empty folder: in memory where the machine has room for all buckets there, else on its disk."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MOST_BYTES
    with tempfile.TemporaryDirectory(prefix="atelier-s3-", dir=MEMORY if has_room else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def rclone() -> Iterator[RunningServer]:
    """A running rclone server."""
    with in_memory(run_rclone) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[RunningServer]:
    """A running moto server."""
    with in_memory(run_moto) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[RunningServer]:
    """A running seaweedfs server."""
    with in_memory(run_seaweedfs) as server:
        yield server


@pytest.fixture(params=SERVERS)
def any_server(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the three servers in turn."""
    server: RunningServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=SERVERS_THAT_CHECK_KEYS)
def strict_server(request: pytest.FixtureRequest) -> RunningServer:
    """Each server that checks who asks, in turn."""
    server: RunningServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def any_bucket(any_server: RunningServer) -> BucketDescription:
    """An empty bucket on each of the three servers in turn."""
    return any_server.make_bucket()
