"""A child before it is rendered: everything that the bodies of a Job and its ConfigMap are made from.

Stages fill it, `jobs` and `pods` turn it into JSON. It knows references by name, never what lies behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atelier_contract import defaults
from atelier_contract.base import Document
from atelier_contract.dataset import DatasetSource
from atelier_contract.inputs import ControlFile
from atelier_contract.pods import PodSettings
from atelier_contract.references import StorageSpec
from atelier_contract.roles import Role
from atelier_contract.training_job import BaseModelSource
from atelier_operator.model import Kind

SHORT_GRACE_SECONDS = 30
"""Kubernetes' own default: a short Job has nothing to save."""


@dataclass(frozen=True)
class Owner:
    """The object a child serves."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Needs:
    """What a container asks of a node, as Kubernetes quantities."""

    cpu: str = defaults.SHORT_JOB_CPU
    memory: str = defaults.SHORT_JOB_MEMORY
    ephemeral_storage: str = defaults.SHORT_JOB_EPHEMERAL_STORAGE
    gpus: int = 0
    gpu_resource: str = defaults.GPU_RESOURCE


@dataclass(frozen=True)
class Token:
    """One key of a Secret that a pod needs besides the store's."""

    secret: str
    key: str


@dataclass(frozen=True)
class Child:
    """One Job to be, with what its pod needs."""

    owner: Owner
    name: str
    role: Role
    image: str
    pull_policy: str
    document: Document
    storage: StorageSpec | None
    dataset: DatasetSource | None = None
    """Set where the pod reads the pictures' source itself."""
    base_model: BaseModelSource | None = None
    """Set where the pod reads the base model."""
    token: Token | None = None
    pod: PodSettings = field(default_factory=PodSettings)
    """Where it runs; only a training pod obeys more of it than account and pull secrets."""
    needs: Needs = field(default_factory=Needs)
    grace_seconds: int = SHORT_GRACE_SECONDS
    control: ControlFile | None = None
    queue_name: str = ""
    owned: bool = True
    """False: without owner references, because the owner is being deleted."""

    @property
    def nodes(self) -> int:
        """Pods that do this work together."""
        return self.pod.nodes or 1 if self.trains else 1

    @property
    def trains(self) -> bool:
        """Whether this is the one child that asks for a GPU and serves its progress."""
        return self.role is Role.TRAIN
