"""What is mounted into a child's container: input, credentials by fixed keys, claims and scratch space.

Credentials are drawn by key: a Secret named in a spec can give nothing but the keys listed here, whatever else it
holds. They are optional, so that `preflight` can say what is missing; a missing mount would only show in events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atelier_contract import names
from atelier_contract.roles import Role
from atelier_operator.model import Json
from atelier_operator.plan.children import Child

_READABLE_BY_GROUP = 0o440
"""Owner root, group the pod's fsGroup: our user reads, nobody writes."""
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - mount points of the pod's own empty volumes
_SHARED_MEMORY = "2Gi"
"""Limit of /dev/shm: data loaders hand pictures over through it; it counts against the container's memory."""


def build_volumes(child: Child) -> tuple[list[Json], list[Json]]:
    """Return a pod's volumes and its container's mounts, in the same order."""
    found = list(_list_mounts(child))
    volumes = [{"name": name, **source} for name, source, _, _ in found]
    mounts: list[Json] = []
    for name, _, path, read_only in found:
        mounts.append({"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})})
    return volumes, mounts


def _list_mounts(child: Child) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    """Yield name, source, path, read-only."""
    # The whole folder, no subPath: the kubelet never renews a file mounted by subPath, and control.json must change.
    yield "input", {"configMap": {"name": child.name}}, names.INPUT_DIR, True
    yield "tmp", {"emptyDir": {}}, _TMP, False
    yield "scratch", {"emptyDir": {}}, names.SCRATCH_DIR, False
    if child.trains:
        memory = {"medium": "Memory", "sizeLimit": _SHARED_MEMORY}
        yield "shared-memory", {"emptyDir": memory}, _SHM, False
    yield from _list_store(child)
    yield from _list_sources(child)
    if child.token is not None:
        source = _secret(child.token.secret, (child.token.key,))
        yield "token", source, names.TOKEN_DIR, True
    if child.pod.model_cache_claim and child.role in {Role.PREFLIGHT, Role.TRAIN}:
        yield "model-cache", _claim(child.pod.model_cache_claim), names.MODEL_CACHE_DIR, False


def _list_store(child: Child) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    claim = child.storage.persistent_volume_claim if child.storage else None
    if claim is not None:
        yield "store", _claim(claim.claim_name), names.STORE_VOLUME_DIR, False
        return
    ref = child.storage.secret_ref if child.storage else None
    yield "store", _secret(ref.name if ref else names.STORE_SECRET, names.STORE_KEYS), names.STORE_SECRET_DIR, True


def _list_sources(child: Child) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    if child.dataset is not None and child.dataset.persistent_volume_claim is not None:
        claim = child.dataset.persistent_volume_claim.claim_name
        yield "dataset", _claim(claim), names.DATASET_VOLUME_DIR, True
    if child.dataset is not None and child.dataset.s3 is not None and child.dataset.s3.secret_ref is not None:
        source = _secret(child.dataset.s3.secret_ref.name, names.STORE_KEYS)
        yield "dataset-source", source, names.SOURCE_SECRET_DIR, True
    if child.base_model is not None and child.base_model.persistent_volume_claim is not None:
        claim = child.base_model.persistent_volume_claim.claim_name
        yield "base-model", _claim(claim), names.BASE_MODEL_VOLUME_DIR, True


def _secret(name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    items = [{"key": key, "path": key} for key in keys]
    return {"secret": {"secretName": name, "optional": True, "defaultMode": _READABLE_BY_GROUP, "items": items}}


def _claim(name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name}}
