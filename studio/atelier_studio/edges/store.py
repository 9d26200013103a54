"""The namespace's store, opened from a person's own machine with what the person may read in the cluster.

In: the namespace and its Secret through the cluster edge. Out: a store and its keys, known to be this namespace's.
A store's address is often one that only the cluster knows; then the person says how it is reached from here.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from atelier_contract import names
from atelier_contract.layout import NamespaceLayout
from atelier_contract.references import StorageSpec
from atelier_materials.store.bucket import BucketDescription, describe_bucket
from atelier_materials.store.ownership import claim_store
from atelier_materials.store.patience import Patience
from atelier_studio.errors import BadRequest

if TYPE_CHECKING:
    from atelier_materials.store.s3_store import S3Store

FIRST_ANSWER_SECONDS = 3.0
"""Patience of the first question: an address that is wrong here should be said at once."""
PATIENCE_SECONDS = 120.0
"""Patience of a store that has answered before: a person sits and waits, so shorter than a pod's."""


class SecretSource(Protocol):
    """What of the cluster is needed to open a store; `edges.cluster.Cluster` is one."""

    namespace: str

    def read_secret(self, name: str) -> dict[str, str]:
        """Return the decoded values of a Secret; none where there is no such Secret."""

    def namespace_uid(self) -> str:
        """Return the UID of the namespace."""

    def cluster_uid(self) -> str | None:
        """Return the cluster's UID, None where the person may not read it."""


@dataclass(frozen=True)
class StudioStore:
    """A namespace's store as seen from here."""

    store: S3Store
    layout: NamespaceLayout
    description: BucketDescription
    """How the bucket is reached, for whoever sends many files."""
    patience: Patience


def open_store(cluster: SecretSource, storage: StorageSpec | None, *, endpoint: str | None = None) -> StudioStore:
    """Open the store that an object names, or the namespace's own, and make sure that it is this namespace's.

    Args:
        cluster: where the Secret is read.
        storage: `spec.storage` of the Dataset or TrainingJob; None: the Secret atelier-storage.
        endpoint: address of the store as reached from here; default: ATELIER_STORE_ENDPOINT, then the Secret's.

    Raises:
        BadRequest: the store is a volume, which nothing outside the cluster can reach.
        ClusterRefused: the person may not read the Secret.
        StorageNotConfigured: the Secret is missing, lacks keys, or its keys open nothing.
        StorageOwnedByAnother: owner.json names someone else.
        StorageUnavailable: nobody answers at the address.
    """
    from atelier_materials.store.s3_store import S3Store  # noqa: PLC0415  (boto3 is slow to import)

    if storage is not None and storage.persistent_volume_claim is not None:
        raise BadRequest(
            f"this store is the PersistentVolumeClaim {storage.persistent_volume_claim.claim_name}, which only pods of "
            "the cluster can reach: mount it in a pod and use kubectl cp, or keep the store in a bucket (storage."
            "secretRef)"
        )
    secret_name = storage.secret_ref.name if storage is not None and storage.secret_ref else names.STORE_SECRET
    description = describe_from_here(cluster.read_secret(secret_name), secret_name, endpoint)
    patience = Patience(seconds=FIRST_ANSWER_SECONDS, advice=describe_way_in())
    layout = NamespaceLayout(cluster.namespace, description.prefix)
    opened = S3Store(description, patience)
    claim_store(opened, layout, cluster.namespace_uid(), cluster.cluster_uid())
    patience = replace(patience, seconds=PATIENCE_SECONDS)
    return StudioStore(opened.with_patience(patience), layout, description, patience)


def describe_from_here(values: Mapping[str, str], secret_name: str, endpoint: str | None) -> BucketDescription:
    """Return what a Secret says of a bucket, with the address by which it is reached from here.

    Raises:
        StorageNotConfigured: keys are missing, or one makes no sense.
    """
    ca_bundle = _keep_private(values[names.KEY_CA_BUNDLE]) if values.get(names.KEY_CA_BUNDLE, "").strip() else None
    # A Secret without keys belongs to service accounts with an identity; here the person's own login takes its place.
    described = describe_bucket(values, secret_name, has_identity=True, ca_bundle=ca_bundle)
    from_here = endpoint or os.environ.get(names.ENV_STORE_ENDPOINT) or described.endpoint
    return replace(described, endpoint=from_here)


def describe_way_in() -> str:
    """Return what to do when nobody answers at the store's address."""
    return (
        "see whether it is up. Where that address is known inside the cluster only, forward a port (kubectl "
        "port-forward service/NAME 9000) and say --store-endpoint http://127.0.0.1:9000, or set "
        f"{names.ENV_STORE_ENDPOINT}"
    )


def _keep_private(certificates: str) -> Path:
    """Write certificates where libraries that want a file can read them and other people of this machine cannot."""
    descriptor, name = tempfile.mkstemp(prefix="atelier-ca-", suffix=".pem")  # mode 0600
    path = Path(name)
    atexit.register(path.unlink, missing_ok=True)
    with os.fdopen(descriptor, "w") as file:
        file.write(certificates)
    return path
