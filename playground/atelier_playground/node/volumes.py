"""A pod's volumes: laid out before its containers start, and kept up to date while they run.

In come the pod and the API; out go one directory a volume under the pod's own directory, and the mounts of each
container. ConfigMaps, Secrets and downward fields change in place within a moment of their change in the API; tokens
are renewed long before they run out. Claims lead to the directory that their PersistentVolume names.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

from atelier_playground.errors import ApiError
from atelier_playground.node.client import Client, Object, Unreachable
from atelier_playground.node.environment import expand
from atelier_playground.node.payload import File, write_payload
from atelier_playground.node.quantities import read_quantity
from atelier_playground.node.sandbox import Mount
from atelier_playground.node.sources import (
    Missing,
    Place,
    read_data,
    read_field,
    read_resource,
    request_token,
)

_DEFAULT_MODE = 0o644
# The kubelet renews when a fifth of the life is left (pkg/kubelet/token/token_manager.go).
_RENEW_AT = 0.8
_FOLLOWED = {"configMap": ("configmaps", "name"), "secret": ("secrets", "secretName")}


class Volumes:
    """The volumes of one pod.

    Args:
        client: the API.
        directory: where this pod's volumes lie.
        place: where the pod runs.
    """

    def __init__(self, client: Client, directory: Path, place: Place) -> None:
        self._client = client
        self._directory = directory
        self._place = place
        self._sources: dict[str, Path] = {}
        self._renewals: dict[str, dt.datetime] = {}
        self._changed = asyncio.Event()

    async def lay_out(self, pod: Object) -> None:
        """Make every volume of the pod ready.

        Raises:
            Missing: something that a volume needs is not there yet.
        """
        for volume in pod["spec"].get("volumes") or ():
            self._sources[volume["name"]] = await self._lay_out_one(pod, volume)

    async def _lay_out_one(self, pod: Object, volume: Object) -> Path:
        directory = self._directory / str(volume["name"])
        if "persistentVolumeClaim" in volume:
            return await self._find_claim(pod, volume["persistentVolumeClaim"]["claimName"])
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        directory.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            directory.chmod(0o777)
            return directory
        write_payload(directory, await self._read_files(pod, volume))
        return directory

    async def _read_files(self, pod: Object, volume: Object) -> dict[str, File]:
        if "projected" in volume:
            source = volume["projected"]
            mode = source.get("defaultMode", _DEFAULT_MODE)
            files: dict[str, File] = {}
            for part in source.get("sources") or ():
                files.update(await self._read_part(pod, volume["name"], part, mode))
            return files
        kind = next((kind for kind in ("configMap", "secret", "downwardAPI") if kind in volume), None)
        if kind is None:
            raise Missing(f"volume {volume['name']} is of a kind that this node does not offer")
        return await self._read_part(pod, volume["name"], volume, volume[kind].get("defaultMode", _DEFAULT_MODE))

    async def _read_part(self, pod: Object, name: str, part: Object, mode: int) -> dict[str, File]:
        """Read one source; a projected volume has several, any other volume is one."""
        if "downwardAPI" in part:
            return self._read_fields(pod, part["downwardAPI"], mode)
        if "serviceAccountToken" in part:
            source = part["serviceAccountToken"]
            token, expires = await request_token(self._client, pod, source)
            now = dt.datetime.now(dt.UTC)
            renew = now + (expires - now) * _RENEW_AT
            self._renewals[name] = min(renew, self._renewals.get(name, renew))
            # The kubelet gives tokens 0600 and the pod's user; 0644 would do for no one else here.
            return {source["path"]: File(token, mode & 0o644)}
        for field, (kind, key) in _FOLLOWED.items():
            if field in part:
                source = part[field]
                wanted = source.get(key) or source["name"]
                entries = await read_data(
                    self._client, kind, pod["metadata"]["namespace"], wanted, source.get("optional", False)
                )
                return _choose(entries, source, mode, f"{kind.removesuffix('s')} {wanted}")
        raise Missing(f"volume {name} has a source that this node does not offer: {sorted(part)}")

    def _read_fields(self, pod: Object, source: Object, mode: int) -> dict[str, File]:
        files = {}
        for item in source.get("items") or ():
            if "fieldRef" in item:
                text = read_field(pod, self._place, item["fieldRef"]["fieldPath"])
            else:
                text = read_resource(pod, {}, item["resourceFieldRef"])
            files[item["path"]] = File(text.encode(), item.get("mode", mode))
        return files

    async def _find_claim(self, pod: Object, name: str) -> Path:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/persistentvolumeclaims/{name}"
        try:
            claim = await self._client.get(path)
            volume_name = claim["spec"].get("volumeName")
            if claim.get("status", {}).get("phase") != "Bound" or not volume_name:
                raise Missing(f"claim {name} is not bound to a volume yet")
            volume = await self._client.get(f"/api/v1/persistentvolumes/{volume_name}")
        except ApiError as error:
            raise Missing(f"claim {name} cannot be read: {error}") from error
        source = volume["spec"].get("hostPath") or volume["spec"].get("local")
        if source is None:
            raise Missing(f"volume {volume_name} of claim {name} is of a kind that this node does not offer")
        return Path(str(source["path"]))

    def build_mounts(self, container: Object, environment: Mapping[str, str]) -> list[Mount]:
        """Build the mounts of one container.

        Raises:
            Missing: a `subPath` does not exist in a volume that cannot be written.
        """
        mounts = []
        for mount in container.get("volumeMounts") or ():
            source = self._sources[mount["name"]]
            sub_path = mount.get("subPath") or _expand_sub_path(mount, environment)
            if sub_path:
                source = _enter(source, sub_path)
            is_payload = (self._sources[mount["name"]] / "..data").is_symlink()
            mounts.append(Mount(os.fspath(source), mount["mountPath"], is_payload or mount.get("readOnly", False)))
        return mounts

    async def keep_current(self, pod: Object) -> None:
        """Follow what the volumes were made from and rewrite them on change, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind, name in sorted(_list_followed(pod)):
                tasks.create_task(self._follow(pod["metadata"]["namespace"], kind, name))
            tasks.create_task(self._rewrite_on_change(pod))

    async def _follow(self, namespace: str, kind: str, name: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/{kind}"
        # The first list counts as well: something may have changed since the volume was made.
        async for _ in self._client.follow(path, f"metadata.name={name}"):
            self._changed.set()

    async def _rewrite_on_change(self, pod: Object) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout=self._seconds_to_renewal())
            self._changed.clear()
            self._renewals.clear()
            try:
                await self.lay_out(pod)
            except (Missing, ApiError, Unreachable):
                # A volume keeps its last good contents; a token that could not be renewed is tried again soon.
                await asyncio.sleep(1)
                self._changed.set()

    def _seconds_to_renewal(self) -> float | None:
        if not self._renewals:
            return None
        return max(1.0, (min(self._renewals.values()) - dt.datetime.now(dt.UTC)).total_seconds())

    def find_overflow(self, pod: Object) -> str | None:
        """Name the first emptyDir that holds more than its `sizeLimit`, in the kubelet's words; None when all fit."""
        for volume in pod["spec"].get("volumes") or ():
            limit = (volume.get("emptyDir") or {}).get("sizeLimit")
            source = self._sources.get(volume["name"])
            if limit and source is not None and measure_bytes(source) > read_quantity(limit):
                return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
        return None


def measure_bytes(directory: Path) -> int:
    """Measure what the files under a directory occupy on disk."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _choose(entries: dict[str, bytes] | None, source: Object, mode: int, what: str) -> dict[str, File]:
    """Choose the entries that a source's `items` name, at their paths; all of them when it names none."""
    if entries is None:
        return {}
    if not source.get("items"):
        return {key: File(content, mode) for key, content in entries.items()}
    files = {}
    for item in source["items"]:
        if item["key"] in entries:
            files[item["path"]] = File(entries[item["key"]], item.get("mode", mode))
        elif not source.get("optional", False):
            raise Missing(f"references non-existent key {item['key']} of {what}")
    return files


def _expand_sub_path(mount: Object, environment: Mapping[str, str]) -> str:
    return expand(mount.get("subPathExpr", ""), environment)


def _enter(volume: Path, sub_path: str) -> Path:
    inside = volume / sub_path
    if not inside.exists():
        if (volume / "..data").is_symlink():
            raise Missing(f"subPath {sub_path} is not in the volume")
        inside.mkdir(parents=True)
    return inside


def _list_followed(pod: Object) -> set[tuple[str, str]]:
    """List the ConfigMaps and Secrets whose changes must reach the pod's volumes."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        for part in [volume, *(volume.get("projected") or {}).get("sources", ())]:
            for field, (kind, key) in _FOLLOWED.items():
                if field in part:
                    found.add((kind, part[field].get(key) or part[field]["name"]))
    return found
