"""Opening a namespace's store from a person's own machine."""

from __future__ import annotations

import stat

import pytest

from atelier_contract import names
from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import OwnerManifest
from atelier_contract.references import StorageSpec
from atelier_materials.errors import StorageNotConfigured, StorageOwnedByAnother, StorageUnavailable
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.documents import find_document, write_document
from atelier_studio.edges import store as stores
from atelier_studio.edges.store import describe_from_here, open_store
from atelier_studio.errors import BadRequest
from pushed_folders import NAMESPACE, FakeCluster, open_bucket
from s3_servers import RunningServer
from stand_in_api import describe_secret

NOWHERE = "http://127.0.0.1:9"
OWNER = NamespaceLayout(NAMESPACE, "atelier").owner


@pytest.fixture
def bucket(rclone: RunningServer) -> BucketDescription:
    """An empty bucket."""
    return rclone.make_bucket()


def test_first_who_opens_claims(bucket: BucketDescription) -> None:
    """A store that is nobody's becomes this namespace's, under the Secret's prefix."""
    opened = open_store(FakeCluster(describe_secret(bucket)), None)
    owner = find_document(opened.store, OWNER, OwnerManifest)
    assert owner == OwnerManifest(cluster_uid="cluster-1", namespace_uid="namespace-1")
    assert opened.layout == NamespaceLayout(NAMESPACE, "atelier")


def test_opens_again(bucket: BucketDescription) -> None:
    """Whoever owns a store opens it again."""
    cluster = FakeCluster(describe_secret(bucket))
    open_store(cluster, None)
    assert open_store(cluster, None).store.head(OWNER) is not None


def test_unknown_cluster_claims_nothing(bucket: BucketDescription) -> None:
    """Who may not read the cluster's UID leaves the claim to the first pod."""
    opened = open_store(FakeCluster(describe_secret(bucket), cluster_uid=None), None)
    assert opened.store.head(OWNER) is None


def test_unknown_cluster_knows_its_own(bucket: BucketDescription) -> None:
    """A store is known by the namespace's UID where the cluster's cannot be read."""
    open_store(FakeCluster(describe_secret(bucket)), None)
    open_store(FakeCluster(describe_secret(bucket), cluster_uid=None), None)


@pytest.mark.parametrize(("cluster_uid", "asks_as"), [("cluster-2", "cluster-1"), ("cluster-2", "cluster-2")])
def test_store_of_another(bucket: BucketDescription, cluster_uid: str, asks_as: str) -> None:
    """A store of another cluster, or of another namespace of this one, is refused before anything is written."""
    namespace_uid = "namespace-1" if cluster_uid != asks_as else "namespace-2"
    store = open_bucket(bucket).store
    write_document(store, OWNER, OwnerManifest(cluster_uid=cluster_uid, namespace_uid=namespace_uid))
    with pytest.raises(StorageOwnedByAnother, match="belongs to namespace UID"):
        open_store(FakeCluster(describe_secret(bucket), cluster_uid=asks_as), None)


def test_volume_is_out_of_reach() -> None:
    """A store on a claim cannot be reached from here, which is said with what to do."""
    storage = StorageSpec.model_validate({"persistentVolumeClaim": {"claimName": "models"}})
    with pytest.raises(BadRequest, match="PersistentVolumeClaim models, which only pods"):
        open_store(FakeCluster({}), storage)


def test_secret_that_a_spec_names(bucket: BucketDescription) -> None:
    """`spec.storage` of an object names the Secret that is read."""
    storage = StorageSpec.model_validate({"secretRef": {"name": "other"}})
    with pytest.raises(StorageNotConfigured, match="Secret other is missing"):
        open_store(FakeCluster(describe_secret(bucket)), storage)


def test_address_that_only_the_cluster_knows(bucket: BucketDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address at which nobody answers here is said at once, with the two ways to give another."""
    monkeypatch.setattr(stores, "FIRST_ANSWER_SECONDS", 0.0)
    with pytest.raises(StorageUnavailable, match=r"port-forward .* --store-endpoint .* ATELIER_STORE_ENDPOINT"):
        open_store(FakeCluster(describe_secret(bucket, NOWHERE)), None)


def test_address_by_option(bucket: BucketDescription) -> None:
    """An address that is given takes the place of the Secret's."""
    opened = open_store(FakeCluster(describe_secret(bucket, NOWHERE)), None, endpoint=bucket.endpoint)
    assert opened.description.endpoint == bucket.endpoint


def test_address_by_variable(bucket: BucketDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable does the same, for every command."""
    monkeypatch.setenv(names.ENV_STORE_ENDPOINT, bucket.endpoint or "")
    opened = open_store(FakeCluster(describe_secret(bucket, NOWHERE)), None)
    assert opened.description.endpoint == bucket.endpoint


def test_certificates_are_private(bucket: BucketDescription) -> None:
    """The certificates of a Secret lie in a file that other people of this machine cannot read."""
    secret = {**describe_secret(bucket), names.KEY_CA_BUNDLE: "certificates"}
    described = describe_from_here(secret, names.STORE_SECRET, None)
    assert described.ca_bundle is not None
    assert described.ca_bundle.read_text() == "certificates"
    assert stat.S_IMODE(described.ca_bundle.stat().st_mode) == 0o600
