"""References and storage blocks that several kinds use: always by name, always in the same namespace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atelier_contract.base import CelRule, Spec

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of an object in the same namespace."""
KeyPath = Annotated[
    str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
]
"""A relative path below a store, bucket or volume: each part begins with a letter or digit, so `..` is none."""

EXACTLY_ONE_STORAGE: CelRule = {
    "rule": "[has(self.secretRef), has(self.persistentVolumeClaim)].exists_one(x, x)",
    "message": "name exactly one of secretRef and persistentVolumeClaim",
}


class NameRef(Spec):
    """An object in the same namespace."""

    name: ObjectName
    """Name of the object."""


class ClaimSource(Spec):
    """A folder in a PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the claim. Example: photos."""
    path: KeyPath | None = None
    """Folder inside the volume; the volume's root when left out. Example: teapots."""


class StorageSpec(Spec):
    """Where a namespace keeps pictures, checkpoints and models: exactly one of the two."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [EXACTLY_ONE_STORAGE]}}

    secret_ref: NameRef | None = None
    """Secret with endpoint, region, bucket, prefix and keys of an S3 store. Default: atelier-storage."""
    persistent_volume_claim: ClaimSource | None = None
    """A shared volume used as store instead of a bucket."""
