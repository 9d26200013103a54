"""A real Kubernetes control plane on loopback: etcd, API server, controller manager and scheduler.

In comes the built binary and an empty directory; out go a ready API server, kubeconfigs for its people, and a
certificate for nodes. Everything it writes lies in that directory, every port is a free one, and the four
processes end with their owner. It knows nothing of Atelier, and nothing of what runs on the nodes.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atelier_playground.errors import StartFailed
from atelier_playground.processes import Child, choose_port, is_listening

_READY_SECONDS = 120
_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Patience:
    """How soon the control plane gives up on a silent node.

    Attributes:
        node_grace_seconds: silence after which a node counts as lost (Kubernetes' default is 50).
        eviction_seconds: how long pods stay bound to a lost node before they are deleted (Kubernetes' default is 300).
    """

    node_grace_seconds: int = 40
    eviction_seconds: int = 300


@dataclass(frozen=True)
class _Person:
    """A user with a token: the name of its kubeconfig, its user name, and its groups."""

    file: str
    user: str
    groups: str


_ADMIN = _Person("admin", "admin", "system:masters")
_CONTROLLER_MANAGER = _Person("controller-manager", "system:kube-controller-manager", "")
_SCHEDULER = _Person("scheduler", "system:kube-scheduler", "")


@dataclass
class ControlPlane:
    """The four processes and the files they share.

    Args:
        binary: the multi-call executable of `binaries.build_control_plane`.
        directory: an empty or earlier state directory; it must not be shared.
        patience: how soon lost nodes are noticed.
        node_names: the nodes that will join; each gets a token of its own and may speak for itself alone.
    """

    binary: Path
    directory: Path
    patience: Patience = field(default_factory=Patience)
    node_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._children: list[Child] = []
        self._port = choose_port()

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The API server's port on 127.0.0.1."""
        return self._port

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubeconfig_of(_ADMIN.file)

    @property
    def keys(self) -> Path:
        """The directory of certificates: ca.crt, and node.crt with node.key for the nodes' own servers."""
        return self.directory / "keys"

    def kubeconfig_of(self, name: str) -> Path:
        """The kubeconfig of a component, or of a node by its name."""
        return self.directory / f"{name}.kubeconfig"

    def start(self) -> None:
        """Start all four and wait until the API server answers.

        Raises:
            StartFailed: one of them ended or stayed silent; whatever had started is ended again.
        """
        try:
            self._write_keys()
            self._write_people()
            self._start_etcd()
            apiserver = self._start_apiserver()
            apiserver.wait_until(self._is_ready, _READY_SECONDS)
            self._start_controller_manager()
            self._start_scheduler()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all four, those that depend on others first."""
        while self._children:
            self._children.pop().stop()

    def pids(self) -> dict[str, int]:
        """The process id of each running component."""
        return {child.name: child.pid for child in self._children if child.is_running()}

    def _write_keys(self) -> None:
        if (self.keys / "sa.pub").exists():
            return
        done = subprocess.run([self.binary, "keys", self.keys], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartFailed(f"{self.binary} could not write keys into {self.keys}: {done.stderr.strip()}")

    def _write_people(self) -> None:
        nodes = [_Person(name, f"system:node:{name}", "system:nodes") for name in self.node_names]
        rows = []
        for person in (_ADMIN, _CONTROLLER_MANAGER, _SCHEDULER, *nodes):
            token = secrets.token_hex(16)
            rows.append(f'{token},{person.user},{person.user},"{person.groups}"')
            _write_private(self.kubeconfig_of(person.file), self._build_kubeconfig(person.file, token))
        _write_private(self.directory / "tokens.csv", "\n".join(rows) + "\n")

    def _build_kubeconfig(self, user: str, token: str) -> str:
        # JSON is YAML: every client reads it, and nothing here needs a YAML writer. The authority is embedded, so the
        # file works from any directory and inside a sandbox.
        certificate = (self.keys / "ca.crt").read_text()
        name = "atelier-playground"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": self.url, "certificate-authority-data": _encode(certificate)},
                }
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        }
        return json.dumps(document, indent=1) + "\n"

    def _launch(self, component: str, flags: dict[str, object]) -> Child:
        words = [f"--{name}={value}" for name, value in flags.items()]
        child = Child(component, [self.binary, component, *words], self.directory / f"{component}.log")
        self._children.append(child)
        return child

    def _start_etcd(self) -> None:
        port = choose_port()
        self._etcd_url = f"http://127.0.0.1:{port}"
        peer_url = f"http://127.0.0.1:{choose_port()}"
        flags: dict[str, object] = {
            "data-dir": self.directory / "etcd",
            "listen-client-urls": self._etcd_url,
            "advertise-client-urls": self._etcd_url,
            "listen-peer-urls": peer_url,
            "initial-advertise-peer-urls": peer_url,
            "initial-cluster": f"default={peer_url}",
            # A playground's data need not survive a power cut, and shared disks answer fsync slowly.
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }
        self._launch("etcd", flags).wait_until(lambda: is_listening(port), _READY_SECONDS)

    def _start_apiserver(self) -> Child:
        flags: dict[str, object] = {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": self._port,
            # Endpoints may not hold loopback addresses, so the `kubernetes` Service gets none; pods are told the
            # address through KUBERNETES_SERVICE_HOST, as the kubelet tells them.
            "advertise-address": "127.0.0.1",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": "10.96.0.0/16",
            "tls-cert-file": self.keys / "apiserver.crt",
            "tls-private-key-file": self.keys / "apiserver.key",
            "client-ca-file": self.keys / "ca.crt",
            "kubelet-client-certificate": self.keys / "apiserver-kubelet.crt",
            "kubelet-client-key": self.keys / "apiserver-kubelet.key",
            "kubelet-certificate-authority": self.keys / "ca.crt",
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-key-file": self.keys / "sa.pub",
            "service-account-signing-key-file": self.keys / "sa.key",
            "service-account-issuer": _ISSUER,
            "token-auth-file": self.directory / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "default-not-ready-toleration-seconds": self.patience.eviction_seconds,
            "default-unreachable-toleration-seconds": self.patience.eviction_seconds,
        }
        return self._launch("kube-apiserver", flags)

    def _start_controller_manager(self) -> None:
        flags: dict[str, object] = {
            **self._build_component_flags(_CONTROLLER_MANAGER),
            "root-ca-file": self.keys / "ca.crt",
            "service-account-private-key-file": self.keys / "sa.key",
            "use-service-account-credentials": "true",
            "node-monitor-grace-period": f"{self.patience.node_grace_seconds}s",
            "node-monitor-period": f"{max(1, self.patience.node_grace_seconds // 8)}s",
        }
        self._launch("kube-controller-manager", flags)

    def _start_scheduler(self) -> None:
        self._launch("kube-scheduler", self._build_component_flags(_SCHEDULER))

    def _build_component_flags(self, person: _Person) -> dict[str, object]:
        kubeconfig = self.kubeconfig_of(person.file)
        return {
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "secure-port": 0,
            "leader-elect": "false",
        }

    def _is_ready(self) -> bool:
        trust = ssl.create_default_context(cafile=str(self.keys / "ca.crt"))
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=trust) as answer:
                status: int = answer.status
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
        return status == 200


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
