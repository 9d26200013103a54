"""A small provisioner: every claim of the default storage class gets a directory of this machine.

It runs beside one node of a playground, with rights of its own. All nodes of a playground are on one machine, so a
volume outlives the node that used it, as a network disk would. Binding and protection are Kubernetes' own; this module
makes the PersistentVolume, and removes it with its files when its claim is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from atelier_playground.errors import ApiError
from atelier_playground.node.client import Client, Object

STORAGE_CLASS = "playground"
_PROVISIONER = "playground.atelier.dev/directory"
_VOLUMES = "/api/v1/persistentvolumes"


async def serve_claims(client: Client, directory: Path) -> None:
    """Make volumes for claims and remove released ones, until cancelled."""
    await _create(client, "/apis/storage.k8s.io/v1/storageclasses", _build_class())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_make_volumes(client, directory))
        tasks.create_task(_remove_released(client))


async def _make_volumes(client: Client, directory: Path) -> None:
    async for kind, found in client.follow("/api/v1/persistentvolumeclaims"):
        claims = found if kind == "LISTED" else [] if kind == "DELETED" else [found]
        for claim in claims:
            spec = claim["spec"]
            if spec.get("storageClassName") == STORAGE_CLASS and not spec.get("volumeName"):
                path = directory / claim["metadata"]["uid"]
                path.mkdir(parents=True, exist_ok=True)
                await _create(client, _VOLUMES, _build_volume(claim, path))


async def _remove_released(client: Client) -> None:
    async for kind, found in client.follow(_VOLUMES):
        volumes = found if kind == "LISTED" else [] if kind == "DELETED" else [found]
        for volume in volumes:
            is_ours = volume["spec"].get("storageClassName") == STORAGE_CLASS
            is_deleted = "deletionTimestamp" in volume["metadata"]
            if is_ours and not is_deleted and volume.get("status", {}).get("phase") == "Released":
                await asyncio.to_thread(shutil.rmtree, volume["spec"]["hostPath"]["path"], ignore_errors=True)
                with contextlib.suppress(ApiError):
                    await client.delete(f"{_VOLUMES}/{volume['metadata']['name']}")


async def _create(client: Client, path: str, body: Object) -> None:
    try:
        await client.create(path, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


def _build_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": _PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def _build_volume(claim: Object, path: Path) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"claim-{metadata['uid']}"},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            # Kubernetes has no deleter for this class; Retain keeps it from trying, and this module does it.
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "hostPath": {"path": str(path)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        },
    }
