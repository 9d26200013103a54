"""Opens where the pictures of a dataset and the files of a base model lie, as the pod's mounts tell."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from atelier_contract import names
from atelier_contract.inputs import BaseModelInput, DatasetInput
from atelier_contract.layout import split_path
from atelier_contract.references import ClaimSource
from atelier_materials.dataset.sources import Dataset, DatasetFolder, Folder, UploadedDataset
from atelier_materials.errors import DatasetUnusable, InvalidInput
from atelier_materials.store.bucket import read_bucket
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.edges.home import Home
from atelier_trainer.settings import TrainerSettings


def open_dataset(settings: TrainerSettings, home: Home, asked: DatasetInput, patience: Patience) -> Dataset:
    """Return the shelf that a dataset's files lie on. Nothing is read yet.

    Raises:
        StorageNotConfigured: the Secret of the bucket is missing or lacks keys.
        DatasetUnusable: no volume is mounted.
    """
    source = asked.source
    if source.s3 is not None:
        address = urlsplit(source.s3.uri)
        foreign = source.s3.secret_ref
        place = names.SOURCE_SECRET_DIR if foreign else names.STORE_SECRET_DIR
        secret_name = foreign.name if foreign else home.secret_name
        description = read_bucket(settings.place(place), secret_name, settings.has_pod_identity, address.netloc)
        return DatasetFolder(Folder(S3Store(description, patience), address.path.strip("/")), "S3")
    if source.persistent_volume_claim is not None:
        volume = settings.place(names.DATASET_VOLUME_DIR)
        if not volume.is_dir():
            claim = source.persistent_volume_claim.claim_name
            raise DatasetUnusable(f"claim {claim} is not mounted: see that it exists in this namespace")
        return DatasetFolder(_open_claim(volume, source.persistent_volume_claim), "Volume")
    return UploadedDataset(home.store, home.layout, asked.name)


def open_base_model(settings: TrainerSettings, home: Home, asked: BaseModelInput) -> Folder:
    """Return the folder that a base model's files lie in. Nothing is read yet.

    Raises:
        KeyRefused: the path leads out of the namespace's prefix.
        InvalidInput: no source is named.
    """
    source = asked.source
    if source.storage is not None:
        return Folder(home.store, home.layout.base_model(source.storage.path))
    if source.persistent_volume_claim is not None:
        return _open_claim(settings.place(names.BASE_MODEL_VOLUME_DIR), source.persistent_volume_claim)
    if source.hugging_face is not None:
        from atelier_trainer.edges.hub_shelf import HubShelf  # noqa: PLC0415 - its library costs only who asks for it

        hub = source.hugging_face
        token = settings.read_token(names.KEY_HUGGING_FACE_TOKEN)
        return Folder(HubShelf(hub.repository, hub.revision, token), "", is_public=True)
    raise InvalidInput("the input names no source of the base model: storage, persistentVolumeClaim or huggingFace")


def _open_claim(volume: Path, claim: ClaimSource) -> Folder:
    return Folder(VolumeStore(volume), "/".join(split_path(claim.path or "")))
