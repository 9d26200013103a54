"""The store of a namespace, as its user reaches it: by the Secret that describes it.

In comes the Secret; out go objects of the bucket by the contract's keys.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from atelier_contract import names
from atelier_contract.layout import NamespaceLayout, RunLayout, split_path
from atelier_contract.manifests import CheckpointManifest
from atelier_playground.api import Api
from atelier_playground.errors import PlaygroundError


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint in the store: its manifest, and the key of the folder it lies in."""

    folder: str
    manifest: CheckpointManifest


@dataclass(frozen=True)
class Store:
    """A bucket, and the keys of one namespace in it."""

    bucket: Any
    bucket_name: str
    layout: NamespaceLayout

    def upload(self, path: Path, key: str) -> None:
        """Upload a file as an object."""
        self.bucket.upload_file(str(path), key)

    def locate(self, key: str) -> str:
        """The whole key of what status names: status does not know the bucket's own prefix, which is the Secret's."""
        return "/".join((*split_path(self.layout.prefix), key))

    def read(self, key: str) -> bytes:
        """Read an object."""
        body: bytes = self.bucket.Object(key).get()["Body"].read()
        return body

    def list_sizes(self, prefix: str) -> dict[str, int]:
        """List the objects under a prefix: key → bytes."""
        return {found.key: found.size for found in self.bucket.objects.filter(Prefix=f"{prefix}/")}

    def find_any(self, prefix: str) -> str | None:
        """Find the key of some object under a prefix.

        Raises:
            PlaygroundError: the store does not answer, or refuses.
        """
        try:
            found = next(iter(self.bucket.objects.filter(Prefix=f"{prefix}/", MaxKeys=1)), None)
        except (BotoCoreError, ClientError) as error:
            raise PlaygroundError(
                f"bucket {self.bucket_name} cannot be listed ({error}): look at the Secret {names.STORE_SECRET}"
            ) from error
        return None if found is None else str(found.key)

    def delete(self, key: str) -> None:
        """Delete one object; nothing happens when there is none."""
        self.bucket.Object(key).delete()

    def delete_below(self, prefix: str) -> None:
        """Delete every object under a prefix."""
        for found in self.bucket.objects.filter(Prefix=f"{prefix}/"):
            found.delete()

    def list_checkpoints(self, run: RunLayout) -> list[Checkpoint]:
        """List a run's whole checkpoints by step; of two of one step, the first by key."""
        found: dict[int, Checkpoint] = {}
        for key in sorted(self.list_sizes(run.attempts())):
            if key.endswith("/checkpoint.json"):
                manifest = CheckpointManifest.model_validate(json.loads(self.read(key)))
                found.setdefault(manifest.step, Checkpoint(key.rpartition("/")[0], manifest))
        return [found[step] for step in sorted(found)]


def open_store(api: Api, namespace: str) -> Store:
    """Open the store that a namespace's Secret describes.

    Raises:
        PlaygroundError: there is no such Secret.
    """
    secret = api.find("v1", "Secret", names.STORE_SECRET, namespace)
    if secret is None:
        raise PlaygroundError(
            f"namespace {namespace} has no Secret {names.STORE_SECRET}: create it with the keys "
            f"{', '.join(names.STORE_KEYS)} (the last two are optional)"
        )
    told = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    style: Any = told.get(names.KEY_ADDRESSING_STYLE, "auto")
    config = Config(
        s3={"addressing_style": style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    resource: Any = boto3.resource(
        "s3",
        endpoint_url=told.get(names.KEY_ENDPOINT),
        region_name=told.get(names.KEY_REGION),
        aws_access_key_id=told.get(names.KEY_ACCESS_KEY_ID),
        aws_secret_access_key=told.get(names.KEY_SECRET_ACCESS_KEY),
        config=config,
    )
    bucket = told[names.KEY_BUCKET]
    return Store(resource.Bucket(bucket), bucket, NamespaceLayout(namespace, told.get(names.KEY_PREFIX, "")))
