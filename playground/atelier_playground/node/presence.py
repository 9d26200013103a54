"""The node's presence in the cluster: its Node object, its heartbeat Lease, and its conditions.

In comes what the node is said to have; out goes a Node that the scheduler fills and that the node controller takes for
alive while this process runs. A stopped process (SIGSTOP) is a lost node, exactly as a machine without power is.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import platform
from pathlib import Path

from atelier_playground.binaries import KUBERNETES_VERSION
from atelier_playground.errors import ApiError
from atelier_playground.node.client import MERGE, STRATEGIC, Client, Object, Unreachable
from atelier_playground.node.container import now
from atelier_playground.node.settings import Settings

ADDRESS = "127.0.0.1"
_STATUS_SECONDS = 60.0
_HEALTH = {
    "Ready": ("True", "KubeletReady", "the playground's node is posting ready status"),
    "MemoryPressure": (
        "False",
        "KubeletHasSufficientMemory",
        "the playground does not measure memory pressure",
    ),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure", "the playground does not measure disk pressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID", "the playground does not measure process pressure"),
}


class Presence:
    """The registration of one node.

    Args:
        client: the API, as `system:node:<name>`.
        settings: what the node is and has.
        port: where its log server listens.
    """

    def __init__(self, client: Client, settings: Settings, port: int) -> None:
        self._client = client
        self._settings = settings
        self._port = port
        self._since = now()

    async def keep(self) -> None:
        """Register the node and keep it alive, until cancelled."""
        last_status = float("-inf")
        while True:
            try:
                loop_time = asyncio.get_running_loop().time()
                if loop_time - last_status >= _STATUS_SECONDS:
                    await self._register()
                    await self._write_status()
                    last_status = loop_time
                await self._renew_lease()
            except (ApiError, Unreachable):
                # The API server may be restarting; the next beat tries again.
                last_status = float("-inf")
            await asyncio.sleep(self._settings.heartbeat_seconds)

    async def _register(self) -> None:
        name = self._settings.name
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": machine}
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {**labels, **self._settings.labels}},
        }
        try:
            await self._client.create("/api/v1/nodes", body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _write_status(self) -> None:
        moment = now()
        conditions = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": moment,
                "lastTransitionTime": self._since,
            }
            for kind, (status, reason, message) in _HEALTH.items()
        ]
        status = {
            "capacity": dict(self._settings.capacity),
            "allocatable": dict(self._settings.capacity),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": ADDRESS},
                {"type": "Hostname", "address": self._settings.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": _describe_machine(),
        }
        await self._client.patch(f"/api/v1/nodes/{self._settings.name}/status", {"status": status}, STRATEGIC)

    async def _renew_lease(self) -> None:
        collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._settings.name, "leaseDurationSeconds": 40, "renewTime": moment}
        try:
            await self._client.patch(f"{collection}/{self._settings.name}", {"spec": spec}, MERGE)
        except ApiError as error:
            if error.status != 404:
                raise
            lease: Object = {"metadata": {"name": self._settings.name}, "spec": spec}
            await self._client.create(collection, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})


def _describe_machine() -> Object:
    machine_id = Path("/etc/machine-id")
    identity = machine_id.read_text().strip() if machine_id.exists() else platform.node()
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "machineID": identity,
        "systemUUID": identity,
        "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kernelVersion": platform.release(),
        "osImage": system.get("PRETTY_NAME", "Linux"),
        "containerRuntimeVersion": "sandbox://bubblewrap",
        "kubeletVersion": KUBERNETES_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    }
