"""A trainer's pod without a cluster: one folder stands for `/`, filled as the operator and the kubelet fill it.

`TrainerPod.run` runs a subcommand in this process and returns its ending; `start` runs it as its own process. Stores
are real: a bucket behind `rclone serve s3` on loopback, or a folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atelier_contract import names
from atelier_contract.architectures import Architecture
from atelier_contract.base import Document
from atelier_contract.inputs import (
    BaseModelInput,
    ControlFile,
    DatasetInput,
    InspectInput,
    StoreInput,
    TrainingInput,
)
from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import PushedFile, PushManifest
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import Store, hash_bytes
from atelier_trainer.__main__ import leave_last_words, run_command
from atelier_trainer.commands.ending import Ending
from atelier_trainer.settings import read_settings
from learning import BASE_MODEL, TEAPOTS, build_settings

NAMESPACE = "art"
CLUSTER_UID, NAMESPACE_UID = "11111111-aaaa", "22222222-bbbb"
IDENTITY = "1d" * 32
SPEC_DIGEST = "5d" * 32
UPLOAD: dict[str, Any] = {"upload": {}}
NO_PATIENCE = Patience(seconds=0)
"""For stores that answer: a test that would wait fails at once."""


@dataclass
class TrainerPod:
    """One pod: its root folder and what it is told.

    Args:
        root: stands for `/`; made.
        store: what the pod is told of its store.
        secret: keys of the store's Secret as mounted; empty for a volume or a missing Secret.
    """

    root: Path
    store: StoreInput
    secret: dict[str, str] = field(default_factory=dict)
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        """Lay out what is mounted."""
        for path in (names.INPUT_DIR, names.STORE_SECRET_DIR, names.SCRATCH_DIR, "/dev"):
            self.place(path).mkdir(parents=True, exist_ok=True)
        for key, value in self.secret.items():
            (self.place(names.STORE_SECRET_DIR) / key).write_text(value)

    def place(self, path: str) -> Path:
        """Return where an absolute path lies."""
        return self.root / path.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """What the container's environment holds."""
        return {names.ENV_ROOT: str(self.root), names.ENV_POD_UID: self.uid}

    def tell(self, document: Document) -> None:
        """Write input.json."""
        (self.place(names.INPUT_DIR) / names.INPUT_FILE).write_bytes(document.to_bytes())

    def stop(self) -> None:
        """Ask for the end in control.json."""
        (self.place(names.INPUT_DIR) / names.CONTROL_FILE).write_bytes(ControlFile(stop=True).to_bytes())

    def run(self, role: Role, document: Document, patience: Patience = NO_PATIENCE) -> Ending:
        """Run a subcommand here and return how it ended; its last words are left as in a pod."""
        self.tell(document)
        settings = read_settings(self.environment)
        ending = run_command(role, settings, patience)
        leave_last_words(settings, ending)
        return ending

    def start(self, role: Role, document: Document, **environment: str) -> subprocess.Popen[bytes]:
        """Start a subcommand as a process of its own."""
        self.tell(document)
        return subprocess.Popen(
            [sys.executable, "-m", "atelier_trainer", role.value],
            env={**os.environ, **self.environment, **environment},
            stderr=subprocess.PIPE,
        )

    @property
    def last_words(self) -> TerminationReport:
        """The termination message, read as the operator reads it."""
        return TerminationReport.from_bytes(self.place(names.TERMINATION_PATH).read_bytes())


@dataclass
class Tenant:
    """A namespace with a store of its own, and pods in it.

    Args:
        folder: for the roots of its pods.
        asked: what pods are told of the store.
        secret: keys of its Secret.
        store: the same store, for the test's own eyes.
        prefix: of the bucket.
    """

    folder: Path
    asked: StoreInput
    secret: dict[str, str]
    store: Store
    prefix: str
    mount: Callable[[Path], None] = lambda _: None

    @property
    def layout(self) -> NamespaceLayout:
        """Keys of the namespace."""
        return NamespaceLayout(NAMESPACE, self.prefix)

    def pod(self, **secret: str | None) -> TrainerPod:
        """Return a new pod; changes to its Secret, None takes a key away."""
        keys = {key: value for key, value in {**self.secret, **secret}.items() if value is not None}
        pod = TrainerPod(self.folder / uuid.uuid4().hex[:8], self.asked, keys)
        self.mount(pod.root)
        return pod

    def put_folder(self, folder: Path, *parts: str) -> None:
        """Store a folder's files below a key of the namespace."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.store.write_file(self.layout.key(*parts, *path.relative_to(folder).parts), path)

    def listing(self) -> dict[str, int]:
        """Return everything in the store, with sizes."""
        return {entry.key: entry.bytes for entry in self.store.list("")}

    def inspect_input(self, source: dict[str, Any], name: str = "teapots") -> InspectInput:
        """Return the input of an inspection."""
        return InspectInput(store=self.asked, dataset=DatasetInput.model_validate({"name": name, "source": source}))

    def training_input(self, revision: str, source: dict[str, Any], **changes: Any) -> TrainingInput:
        """Return the input of a short run on the tiny base model."""
        values: dict[str, Any] = {
            "store": self.asked,
            "job": "teapot",
            "run_identity": IDENTITY,
            "spec_digest": SPEC_DIGEST,
            "trainer_image": "trainer:test",
            "model_name": "TKXW teapot",
            "slug": "tkxw-teapot",
            "type": "ConceptModel",
            "dataset": DatasetInput.model_validate({"name": "teapots", "source": source, "revision": revision}),
            "base_model": BaseModelInput.model_validate(
                {
                    "architecture": Architecture.STABLE_DIFFUSION_1,
                    "source": {"storage": {"path": "base-models/tiny"}},
                }
            ),
            "settings": build_settings(steps=4, everySteps=2),
        }
        return TrainingInput(**{**values, **changes})


def describe_secret(description: BucketDescription) -> dict[str, str]:
    """Return a bucket's description as the keys of a Secret."""
    return {
        names.KEY_ENDPOINT: description.endpoint or "",
        names.KEY_BUCKET: description.bucket,
        names.KEY_PREFIX: description.prefix,
        names.KEY_ACCESS_KEY_ID: description.access_key_id or "",
        names.KEY_SECRET_ACCESS_KEY: description.secret_access_key or "",
    }


def push_files(tenant: Tenant, files: dict[str, bytes], name: str = "teapots", **changes: Any) -> PushManifest:
    """Push files into a dataset, as `kubectl atelier dataset push` does: contents first, the push document last."""
    pushed = []
    for path, data in sorted(files.items()):
        content = tenant.store.write(tenant.layout.blob(name, hash_bytes(data).sha256), data)
        pushed.append(PushedFile(path=path, bytes=content.bytes, sha256=content.sha256))
    push = PushManifest(**{"pushed_at": "2026-11-23T00:00:00Z", "files": pushed, **changes})
    digest = hash_bytes(push.to_bytes()).sha256
    tenant.store.write(tenant.layout.push(name, digest), push.to_bytes())
    return push


def put_teapots(tenant: Tenant) -> str:
    """Put the teapots and the tiny base model into a tenant's store; return the revision of the pictures."""
    push_files(tenant, {path.name: path.read_bytes() for path in TEAPOTS.iterdir()})
    tenant.put_folder(BASE_MODEL, "base-models", "tiny")
    ending = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD))
    assert ending.report.inspection is not None, ending.report.message
    return ending.report.inspection.revision
