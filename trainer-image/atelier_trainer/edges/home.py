"""The namespace's own store, opened and known to be its own.

Two clusters on one bucket would overwrite each other's runs unseen. So the first pod of a namespace writes who owns the
prefix (owner.json), and every later one compares before it reads, writes or deletes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract import names
from atelier_contract.inputs import StoreInput
from atelier_contract.layout import NamespaceLayout
from atelier_materials.errors import StorageNotConfigured
from atelier_materials.store.bucket import read_bucket
from atelier_materials.store.ownership import claim_store
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
    claim_store(home.store, home.layout, asked.namespace_uid, asked.cluster_uid)
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
