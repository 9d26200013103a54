"""The namespace's own store, opened and known to be its own.

Two clusters on one bucket would overwrite each other's runs unseen. So the first pod of a namespace writes who owns the
prefix (owner.json), and every later one compares before it reads, writes or deletes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract import names
from atelier_contract.inputs import StoreInput
from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import OwnerManifest
from atelier_materials.errors import ObjectConflict, StorageNotConfigured, StorageOwnedByAnother
from atelier_materials.store.bucket import read_bucket
from atelier_materials.store.documents import find_document, read_document, write_document
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import Store
from atelier_materials.store.s3_store import S3Store
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.settings import TrainerSettings


@dataclass(frozen=True)
class Home:
    """A store and the keys that belong to this namespace."""

    store: Store
    layout: NamespaceLayout
    secret_name: str = names.STORE_SECRET
    """Of the Secret that describes the bucket, for messages."""


def open_home(settings: TrainerSettings, asked: StoreInput, patience: Patience) -> Home:
    """Open the namespace's store and make sure that it is this namespace's.

    Raises:
        StorageNotConfigured: the Secret or volume is missing, lacks keys, or does not open.
        StorageOwnedByAnother: owner.json names someone else.
        StorageUnavailable: the store does not answer.
    """
    home = _open_volume(settings, asked) if asked.kind == "Volume" else _open_bucket(settings, asked, patience)
    _claim(home, asked)
    return home


def _open_bucket(settings: TrainerSettings, asked: StoreInput, patience: Patience) -> Home:
    folder = settings.place(names.STORE_SECRET_DIR)
    secret_name = asked.secret_name or names.STORE_SECRET
    description = read_bucket(folder, secret_name, settings.has_pod_identity)
    return Home(S3Store(description, patience), NamespaceLayout(asked.namespace, description.prefix), secret_name)


def _open_volume(settings: TrainerSettings, asked: StoreInput) -> Home:
    volume = settings.place(names.STORE_VOLUME_DIR)
    if not volume.is_dir():
        raise StorageNotConfigured(f"no volume is mounted at {volume}: see that the claim of storage exists")
    return Home(VolumeStore(volume / asked.volume_path), NamespaceLayout(asked.namespace))


def _claim(home: Home, asked: StoreInput) -> None:
    key = home.layout.owner
    ours = OwnerManifest(cluster_uid=asked.cluster_uid, namespace_uid=asked.namespace_uid)
    found = find_document(home.store, key, OwnerManifest)
    if found is None:
        try:
            write_document(home.store, key, ours)
        except ObjectConflict:
            # Another pod came first; what it wrote is compared like any other.
            found = read_document(home.store, key, OwnerManifest)
        else:
            return
    if (found.cluster_uid, found.namespace_uid) != (ours.cluster_uid, ours.namespace_uid):
        raise StorageOwnedByAnother(
            f"{home.store.address} below {asked.namespace} belongs to namespace UID {found.namespace_uid} of cluster "
            f"UID {found.cluster_uid}, this is {ours.namespace_uid} of {ours.cluster_uid}: give this namespace a "
            f"prefix of its own. To take the data over after a restore, when the other is gone, delete the object {key}"
        )
