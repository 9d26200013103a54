"""The whole playground as one thing to start, use and stop: control plane, nodes, store and images.

Used by the tests, the benchmarks and the demo. In comes what is wanted of it; out goes a cluster that a user could not
tell from a real one through `kubectl`, except that its network is this machine's loopback. It starts nothing that it
does not end.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atelier_contract import names
from atelier_playground.api import Api, Object, read_conditions, wait_for
from atelier_playground.binaries import Report, build_control_plane, find_kubectl, find_sandbox
from atelier_playground.chart import install_chart
from atelier_playground.controlplane import ControlPlane, Patience
from atelier_playground.documents import read_documents
from atelier_playground.errors import PlaygroundError
from atelier_playground.images import Image, build_python_image, read_registry, write_registry
from atelier_playground.machines import GENEROUS, Machine
from atelier_playground.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server

CHECKOUT = Path(__file__).resolve().parents[2]
OPERATOR_IMAGE = "atelier/operator"
TRAINER_IMAGE = "atelier/trainer"
BUCKET = "atelier"
PREFIX = "atelier"
RELEASE = "atelier"
SYSTEM_NAMESPACE = "atelier-system"


@dataclass(frozen=True)
class Plan:
    """What a cluster is to have.

    Attributes:
        nodes: names of the nodes to start with; the first one serves claims.
        spare_nodes: names of nodes that may join later.
        capacity: what each node says it has.
        has_store: whether an S3 server runs.
        patience: how soon lost nodes are given up.
        restart_seconds: the first pause between restarts of a failing container.
        images: more images, by name.
    """

    nodes: Sequence[str] = ("playground-1",)
    spare_nodes: Sequence[str] = ()
    capacity: Mapping[str, str] = field(default_factory=lambda: dict(GENEROUS))
    has_store: bool = True
    patience: Patience = field(default_factory=Patience)
    restart_seconds: float = 10
    images: Mapping[str, Image] = field(default_factory=dict)


def build_images() -> dict[str, Image]:
    """Build Atelier's own images: each sees its own side and the contract, and not the other side."""
    contract, materials = CHECKOUT / "crds", CHECKOUT / "materials"
    return {
        OPERATOR_IMAGE: build_python_image([contract, CHECKOUT / "operator"], "atelier_operator"),
        TRAINER_IMAGE: build_python_image([contract, materials, CHECKOUT / "trainer-image"], "atelier_trainer"),
    }


class Cluster:
    """A cluster. Use it as a context manager, or call `start` and `stop`.

    Args:
        plan: what it is to have.
        directory: where everything it writes lies; default: a temporary directory, removed at the end.
        report: called with one line for each step of the start.
    """

    def __init__(self, plan: Plan | None = None, directory: Path | None = None, report: Report | None = None) -> None:
        self.plan = plan or Plan()
        self._is_temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="atelier-playground-"))
        self._say: Report = report or _say_nothing
        self._stops = contextlib.ExitStack()
        self.machines: dict[str, Machine] = {}
        self.store = S3Server(self.directory / "store", self.directory / "store.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything in the plan and wait until the nodes are ready.

        Raises:
            PlaygroundError: something could not be built or started; what had started is ended again.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        find_sandbox()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._is_temporary:
            self._stops.callback(shutil.rmtree, self.directory, ignore_errors=True)
        binary = build_control_plane(self._say)
        self._say("control plane: starting")
        (self.directory / "control-plane").mkdir(exist_ok=True)
        self.control_plane = ControlPlane(
            binary,
            self.directory / "control-plane",
            self.plan.patience,
            (*self.plan.nodes, *self.plan.spare_nodes),
        )
        self.control_plane.start()
        self._stops.callback(self.control_plane.stop)
        self.api = Api(self.kubeconfig)
        write_registry(self._registry, {**build_images(), **self.plan.images})
        if self.plan.has_store:
            self._say("store: starting")
            self.store.make_bucket(BUCKET)
            self.store.start()
            self._stops.callback(self.store.stop)
        for name in self.plan.nodes:
            self._say(f"node {name}: starting")
            self.join(name)
        wait_for(self._are_nodes_ready, "every node is Ready", timeout_seconds=180)
        # The default service account of a namespace is made a moment after it; pods made sooner are refused.
        wait_for(lambda: self.api.get("v1", "ServiceAccount", "default", "default"), "the default account exists")

    def stop(self) -> None:
        """End everything that was started; with a temporary directory, remove what was written."""
        self._stops.close()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.control_plane.kubeconfig

    @property
    def _registry(self) -> Path:
        return self.directory / "images.json"

    def add_image(self, name: str, image: Image) -> None:
        """Put an image into the registry of the running nodes."""
        write_registry(self._registry, {**read_registry(self._registry), name: image})

    # Nodes

    def join(self, name: str) -> Machine:
        """Start a node of the plan."""
        machine = Machine(
            self.control_plane,
            self.directory / "nodes" / name,
            self._registry,
            name,
            capacity=self.plan.capacity,
            restart_seconds=self.plan.restart_seconds,
            serves_claims=name == self.plan.nodes[0],
        )
        machine.start()
        self._stops.callback(machine.stop)
        self.machines[name] = machine
        return machine

    def _are_nodes_ready(self) -> bool:
        for name, machine in self.machines.items():
            if not machine.is_running():
                raise PlaygroundError(f"node {name} has ended: see {machine.directory / 'node.log'}")
            if read_conditions(self.api.get("v1", "Node", name)).get("Ready") != "True":
                return False
        return True

    def find_machine(self, pod: Object) -> Machine:
        """The node that a pod is bound to."""
        return self.machines[pod["spec"]["nodeName"]]

    # Objects

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints.

        Raises:
            PlaygroundError: it failed; the message is its own.
        """
        command = [str(find_kubectl()), "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PlaygroundError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, text: str, namespace: str | None = None) -> list[Object]:
        """Apply every document of a YAML text on the server's side.

        Raises:
            ApiError: the server refused one; those before it are applied.
        """
        return [self.api.apply(document, namespace) for document in read_documents(text)]

    def make_user_namespace(self, name: str, endpoint: str | None = None) -> None:
        """Make a namespace as a user has it: Pod Security `restricted` enforced, and the Secret of its store.

        Args:
            name: the namespace.
            endpoint: another address for the store, such as a proxy's.
        """
        make_user_namespace(self.api, name, (endpoint or self.store.endpoint) if self.plan.has_store else None)

    # Atelier

    def install_operator(self, values: Mapping[str, Any] | None = None, timeout_seconds: float = 120) -> None:
        """Install the chart and wait until the operator's Deployment is available.

        Args:
            values: what differs from the chart's own values.
            timeout_seconds: how long the operator may take to become ready.
        """
        # Pods of a playground have loopback addresses, which a Service may not lead to.
        given = {"metrics": {"service": False}, **(values or {})}
        install_chart(self.kubeconfig, CHECKOUT / "charts" / "atelier", RELEASE, SYSTEM_NAMESPACE, given)
        wait_for(
            self._is_operator_available,
            "the operator's Deployment is available",
            timeout_seconds,
            lambda: self.kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-o", "wide"),
        )

    def _is_operator_available(self) -> bool:
        deployments = self.api.list("apps/v1", "Deployment", SYSTEM_NAMESPACE)
        return bool(deployments) and all(read_conditions(one).get("Available") == "True" for one in deployments)

    # The store

    def open_bucket(self) -> Any:
        """Open the bucket of every namespace's store, as boto3's `Bucket` resource."""
        import boto3  # noqa: PLC0415  # half a second that only some users of a cluster need
        from botocore.config import Config  # noqa: PLC0415  # as above

        resource: Any = boto3.resource(
            "s3",
            endpoint_url=self.store.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )
        return resource.Bucket(BUCKET)

    def upload_folder(self, folder: Path, key: str) -> int:
        """Upload a folder's files below a key of the bucket. Returns the number of files."""
        bucket = self.open_bucket()
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            bucket.upload_file(str(path), f"{key}/{path.relative_to(folder).as_posix()}")
        return len(files)


def make_user_namespace(api: Api, name: str, endpoint: str | None) -> None:
    """Make a namespace as a user has it: Pod Security `restricted` enforced, and the Secret of its store.

    Args:
        api: the cluster.
        name: the namespace.
        endpoint: the address of the playground's store; None: no Secret.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    if endpoint is not None:
        api.apply(_build_store_secret(name, endpoint))
    # Made a moment after its namespace; pods made sooner are refused.
    wait_for(lambda: api.get("v1", "ServiceAccount", "default", name), f"the default account of {name} exists")


def _build_store_secret(namespace: str, endpoint: str) -> Object:
    data = {
        names.KEY_ENDPOINT: endpoint,
        names.KEY_REGION: REGION,
        names.KEY_BUCKET: BUCKET,
        names.KEY_PREFIX: PREFIX,
        names.KEY_ACCESS_KEY_ID: ACCESS_KEY,
        names.KEY_SECRET_ACCESS_KEY: SECRET_KEY,
        names.KEY_ADDRESSING_STYLE: "path",
    }
    metadata = {"name": names.STORE_SECRET, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def _say_nothing(line: str) -> None:
    del line
