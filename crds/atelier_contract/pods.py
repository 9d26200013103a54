"""What a training pod asks of the cluster. There is no free-form patch: only what is listed here can be set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Spec
from atelier_contract.references import NameRef, ObjectName

Quantity = Annotated[str, Field(max_length=20, pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTP]i?)?$")]
"""A Kubernetes quantity. Example: 16Gi."""
LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class Toleration(Spec):
    """A taint that the training pod accepts, as in Kubernetes."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint; all keys when left out."""
    operator: Literal["Exists", "Equal"] | None = None
    """Default: Equal."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all effects when left out."""


class PodSettings(Spec):
    """What the training pod asks of the cluster."""

    gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """GPUs of the pod. 0 trains on the processor, for trials. Default: 1."""
    gpu_resource: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] | None = None
    """Resource name of a GPU. Default: nvidia.com/gpu."""
    cpu: Quantity | None = None
    """Processor request. Default: 2."""
    memory: Quantity | None = None
    """Memory request and limit. Default by architecture."""
    ephemeral_storage: Quantity | None = None
    """Scratch space for pictures, weights and caches. Default by architecture."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = None
    """Labels that the node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints that the pod accepts."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pod."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pod. Example: nvidia."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of all pods of the job, for stores that know the pod's identity. Default: default."""
    image_pull_secrets: Annotated[list[NameRef], Field(max_length=8)] | None = None
    """Secrets for pulling the trainer image."""
    start_deadline_seconds: Annotated[int, Field(ge=60, le=604_800)] | None = None
    """Seconds a scheduled pod may take to start (image pull) before the GPU is given back. Default: 1800."""
    deadline_seconds: Annotated[int, Field(ge=60, le=2_592_000)] | None = None
    """Seconds the training may run in all. Default: no limit."""
    model_cache_claim: ObjectName | None = None
    """Claim in which downloaded base models are kept between runs."""
    nodes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Pods that train together. Default: 1."""
