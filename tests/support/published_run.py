"""A finished and published run in a bucket, as a person's own machine sees it: for tests of `publish`.

The weights are files that InvokeAI knows; nothing was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fake_learning
from atelier_contract import names
from atelier_contract.identity import name_checkpoint
from atelier_contract.inputs import StoreInput
from atelier_contract.layout import RunLayout
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from atelier_studio.edges.store import StudioStore
from finalizing_pod import choose, finish, publish, published_keys
from invokeai_behaviour import build_concept_model, build_embedding, build_preview
from trainer_pod import CLUSTER_UID, IDENTITY, NAMESPACE, NAMESPACE_UID, Tenant, describe_secret

MAKERS = {
    "concept-model.safetensors": build_concept_model,
    "embedding.safetensors": build_embedding,
    "samples/0.png": build_preview,
}


@contextmanager
def true_files() -> Iterator[None]:
    """Let pretended checkpoints hold files and pictures that InvokeAI knows."""
    put = fake_learning._put
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fake_learning, "_put", lambda folder, name, data: put(folder, name, MAKERS.get(name, lambda: data)())
        )
        yield


def build_tenant(bucket: BucketDescription, folder: Path) -> Tenant:
    """Return a namespace whose store is a bucket."""
    asked = StoreInput(
        kind="S3",
        secret_name=names.STORE_SECRET,
        namespace=NAMESPACE,
        cluster_uid=CLUSTER_UID,
        namespace_uid=NAMESPACE_UID,
    )
    store = S3Store(bucket, Patience(seconds=0))
    return Tenant(folder / "pods", asked, describe_secret(bucket), store, bucket.prefix)


@dataclass
class PublishedRun:
    """A run that has published checkpoints, and the job as the cluster tells it."""

    tenant: Tenant
    layout: RunLayout
    bucket: BucketDescription
    body: dict[str, Any]

    @property
    def opened(self) -> StudioStore:
        """The store as a verb opens it."""
        patience = Patience(seconds=0)
        return StudioStore(S3Store(self.bucket, patience), self.tenant.layout, self.bucket, patience)

    def find(self, ending: str) -> str:
        """Return the key of the published file whose name ends so and that belongs to no embedding."""
        (key,) = [k for k in published_keys(self.tenant) if k.endswith(ending) and "-embedding" not in k]
        return key


def publish_run(bucket: BucketDescription, folder: Path, *steps: int, **changes: Any) -> PublishedRun:
    """Finish a run, publish some of its steps, and tell of it as a status does."""
    tenant = build_tenant(bucket, folder)
    with true_files():
        layout = finish(tenant, folder, **changes)
    ending = publish(tenant, choose(tenant, layout, *steps))
    assert ending.report.publish is not None, ending.report.message
    models = [
        {
            "name": "teapot",
            "checkpoint": name_checkpoint(row.step),
            "key": "",
            "sha256": row.sha256[:16],
            "bytes": row.bytes,
        }
        for row in ending.report.publish.models
    ]
    return PublishedRun(tenant, layout, bucket, build_body(models, **changes))


def build_body(models: list[dict[str, Any]], **methods: Any) -> dict[str, Any]:
    """Return the job as the cluster tells it."""
    spec = {
        "modelName": "TKXW teapot",
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {"captionPrefix": "TKXW"},
        "steps": 6,
    }
    return {
        "metadata": {"name": "teapot", "namespace": NAMESPACE},
        "spec": spec,
        "status": {"runIdentity": IDENTITY, "models": models},
    }


@dataclass
class OneJobCluster:
    """The cluster as a person sees it: one job and the Secrets; stands in for `edges.cluster.Cluster` in verbs."""

    run: PublishedRun
    secrets: dict[str, dict[str, str]]
    namespace: str = NAMESPACE

    def get(self, _: object, name: str) -> dict[str, Any]:
        """Return the job."""
        assert name == self.run.body["metadata"]["name"]
        return self.run.body

    def read_secret(self, name: str) -> dict[str, str]:
        """Return a Secret's values; none where there is no such Secret."""
        return {names.STORE_SECRET: self.run.tenant.secret, **self.secrets}.get(name, {})

    def namespace_uid(self) -> str:
        """Return the namespace's UID."""
        return NAMESPACE_UID

    def cluster_uid(self) -> str | None:
        """Return the cluster's UID."""
        return CLUSTER_UID
