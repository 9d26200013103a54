"""Stores and tenants for the trainer's acting half: one S3 server for the session, a bucket for each test."""

from __future__ import annotations

import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from atelier_contract import names
from atelier_contract.inputs import StoreInput
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from atelier_materials.store.volume_store import VolumeStore
from atelier_playground.s3 import S3Server
from fake_learning import learn
from s3_servers import open_folder_in_memory
from trainer_pod import CLUSTER_UID, NAMESPACE, NAMESPACE_UID, Tenant, describe_secret, put_teapots


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server on loopback, in memory where the machine has a folder for that."""
    with open_folder_in_memory() as folder:
        server = S3Server(folder / "buckets", folder / "rclone.log")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def bucket(s3_server: S3Server) -> BucketDescription:
    """An empty bucket of that server."""
    name = f"b{uuid.uuid4().hex[:12]}"
    # Through the protocol: a folder made beside the server is seen only when its listing is read anew.
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    client.create_bucket(Bucket=name)
    return BucketDescription(
        secret_name=names.STORE_SECRET,
        bucket=name,
        prefix="atelier",
        endpoint=s3_server.endpoint,
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
    )


@pytest.fixture
def s3_tenant(bucket: BucketDescription, tmp_path: Path) -> Tenant:
    """A namespace whose store is a bucket."""
    asked = StoreInput(
        kind="S3",
        secret_name=names.STORE_SECRET,
        namespace=NAMESPACE,
        cluster_uid=CLUSTER_UID,
        namespace_uid=NAMESPACE_UID,
    )
    store = S3Store(bucket, Patience(seconds=0))
    return Tenant(tmp_path / "pods", asked, describe_secret(bucket), store, bucket.prefix)


@pytest.fixture
def volume_tenant(tmp_path: Path) -> Tenant:
    """A namespace whose store is a volume, mounted into each of its pods."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def mount(root: Path) -> None:
        target = root / names.STORE_VOLUME_DIR.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(volume)

    asked = StoreInput(
        kind="Volume",
        volume_path="ateliers",
        namespace=NAMESPACE,
        cluster_uid=CLUSTER_UID,
        namespace_uid=NAMESPACE_UID,
    )
    return Tenant(tmp_path / "pods", asked, {}, VolumeStore(volume / "ateliers"), "", mount)


@pytest.fixture(params=["s3_tenant", "volume_tenant"])
def tenant(request: pytest.FixtureRequest) -> Tenant:
    """A namespace, once with a bucket and once with a volume."""
    found: Tenant = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def fake_learn(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Replace the learning half by one that computes nothing; torch is not loaded."""
    module = types.ModuleType("atelier_trainer.learn.train")
    monkeypatch.setattr(module, "train", learn, raising=False)
    monkeypatch.setitem(sys.modules, "atelier_trainer.learn.train", module)
    return module


@pytest.fixture
def dataset_revision(tenant: Tenant) -> str:
    """The teapots in the tenant's store, inspected: their revision."""
    return put_teapots(tenant)
