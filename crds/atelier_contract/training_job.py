"""The kind TrainingJob: what a person asks for. Status has its own module.

Everything but `MUTABLE_FIELDS` is fixed at creation; the rules that say so are generated (crds/generate.py) because a
field-level rule would miss a field being added or removed.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from atelier_contract.architectures import Architecture
from atelier_contract.base import CelRule, Spec
from atelier_contract.contradictions import CONTRADICTIONS, find_contradiction
from atelier_contract.methods import ConceptModelSpec, EmbeddingSpec
from atelier_contract.pods import PodSettings
from atelier_contract.publishing import PublishSpec
from atelier_contract.references import ClaimSource, KeyPath, NameRef, ObjectName, StorageSpec
from atelier_contract.tuning import CheckpointSpec, TuningSpec, ValidationSpec

KIND: Final = "TrainingJob"
PLURAL = "trainingjobs"
SHORT_NAME = "train"
MAX_CHECKPOINTS = 40

CheckpointName = Annotated[str, Field(pattern=r"^step-[0-9]{6,7}$", max_length=12)]
"""Name of a checkpoint: `step-` and the step, six digits. Example: step-000500."""

MUTABLE_FIELDS = ("suspend", "stop", "selection", "retention", "publish", "deletionPolicy")
"""Fields of spec that may change after creation; all others are immutable."""

EXACTLY_ONE_BASE: CelRule = {
    "rule": "[has(self.storage), has(self.persistentVolumeClaim), has(self.huggingFace)].exists_one(x, x)",
    "message": "name exactly one of storage, persistentVolumeClaim and huggingFace as the base model's source",
}
KEEP_SOMETHING: CelRule = {
    "rule": "!has(self.finalize) || !self.finalize || (has(self.checkpoints) && size(self.checkpoints) > 0)",
    "message": "finalize needs at least one name in checkpoints; to keep none, set spec.deletionPolicy to Delete and "
    "delete the TrainingJob",
}
STOP_IS_ONE_WAY: CelRule = {
    "rule": "!has(oldSelf.stop) || !oldSelf.stop || (has(self.stop) && self.stop)",
    "message": "stop cannot be taken back: create a new TrainingJob, which may startFrom a checkpoint of this one",
}


class StoragePath(Spec):
    """A folder or file in the namespace's own store."""

    path: KeyPath
    """Key below the namespace's prefix. Example: base-models/sdxl."""


class HuggingFaceSource(Spec):
    """A repository of the Hugging Face hub, pinned to a commit."""

    repository: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    """Owner and name."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", max_length=40)]
    """Commit, 40 hex digits: a branch could change under a run."""
    token_secret_ref: NameRef | None = None
    """Secret whose key atelier-hf-token holds a read token, for gated models."""


class BaseModelSource(Spec):
    """Where the base model lies: exactly one of three."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [EXACTLY_ONE_BASE]}}

    storage: StoragePath | None = None
    """In the namespace's store."""
    persistent_volume_claim: ClaimSource | None = None
    """In a volume of the namespace."""
    hugging_face: HuggingFaceSource | None = None
    """On the Hugging Face hub: the only source that leaves the cluster."""

    @model_validator(mode="after")
    def require_one(self) -> Self:
        """Refuse none or several sources, as the API server does.

        Raises:
            ValueError: not exactly one source is named.
        """
        if sum(s is not None for s in (self.storage, self.persistent_volume_claim, self.hugging_face)) != 1:
            raise ValueError(EXACTLY_ONE_BASE["message"])
        return self


class BaseModelSpec(Spec):
    """The model that the training starts from and that the result is used with."""

    architecture: Architecture
    """Family: StableDiffusion1, StableDiffusionXL or Flux1. Immutable."""
    source: BaseModelSource
    """Where it lies. Immutable."""


class StartFromSpec(Spec):
    """Go on from a checkpoint of another TrainingJob of the same namespace, type and architecture."""

    training_job_ref: NameRef
    """The other job."""
    checkpoint: CheckpointName
    """Its checkpoint."""


class SelectionSpec(Spec):
    """The checkpoints the user keeps."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [KEEP_SOMETHING]}}

    checkpoints: Annotated[
        list[CheckpointName],
        Field(max_length=MAX_CHECKPOINTS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Names out of status.checkpoints. Mutable until collection starts. Example: [step-000500]."""
    finalize: bool | None = None
    """Publish the selection and, after the grace time, delete the rest. Default: false."""


class RetentionSpec(Spec):
    """How long finalizing waits before it deletes."""

    grace_seconds: Annotated[int, Field(ge=0, le=2_592_000)] | None = None
    """Seconds between finalize and deletion, in which the selection may still change. Default: 600."""


class TrainingJobSpec(Spec):
    """One training run. What is left out is resolved from the template, then from built-in defaults."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [*CONTRADICTIONS, STOP_IS_ONE_WAY]}}

    model_name: Annotated[str, Field(min_length=1, max_length=100)]
    """Name of the model for people. Published files are named after it. Immutable. Example: TKXW teapot."""
    dataset_ref: NameRef
    """The Dataset to learn from. Immutable."""
    base_model: BaseModelSpec
    """What to start from. Immutable."""
    template_ref: NameRef | None = None
    """A TrainingTemplate with settings for an objective. Immutable. Example: object."""
    concept_model: ConceptModelSpec | None = None
    """Train a LoRA. Exactly one of conceptModel and embedding. Immutable."""
    embedding: EmbeddingSpec | None = None
    """Train a textual inversion. Exactly one of conceptModel and embedding. Immutable."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Speed of learning. Default by template. Immutable. Example: 0.0001."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Optimiser steps, each on one batch; 2000 or more are recommended. Default by template, else 2000. Immutable.
    Example: 2000."""
    tuning: TuningSpec | None = None
    """Settings that rarely need a hand. Immutable."""
    checkpoints: CheckpointSpec | None = None
    """How often a checkpoint is kept. Immutable."""
    validation: ValidationSpec | None = None
    """Sample pictures and held-out loss. Immutable."""
    start_from: StartFromSpec | None = None
    """Go on from another job's checkpoint. Immutable."""
    storage: StorageSpec | None = None
    """Store of pictures, checkpoints and models. Default: the Secret atelier-storage. Immutable."""
    pod: PodSettings | None = None
    """What the training pod asks of the cluster. Immutable."""
    queue_name: ObjectName | None = None
    """Kueue LocalQueue that admits the training Job. Immutable."""
    run_id: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9._-]*$")] | None = None
    """Part of the run's identity: the same asked again with another runId trains anew. Immutable. Default: empty."""
    suspend: bool | None = None
    """Pause: the GPU is given back, the state is kept. Mutable. Default: false."""
    stop: bool | None = None
    """End now and keep the current step's checkpoint. Mutable, one-way. Default: false."""
    selection: SelectionSpec | None = None
    """The checkpoints to keep. Mutable until collection starts."""
    retention: RetentionSpec | None = None
    """Waiting time before deletion. Mutable."""
    publish: PublishSpec | None = None
    """Where else published models go. Mutable."""
    deletion_policy: Literal["Retain", "Delete"] | None = None
    """Delete: the run's checkpoints go with this object; published models never do. Mutable. Default: Retain."""

    @model_validator(mode="after")
    def refuse_contradictions(self) -> Self:
        """Refuse settings that cannot be meant together, as the API server does.

        Raises:
            ValueError: names what contradicts what, and what to change.
        """
        message = find_contradiction(self)
        if message:
            raise ValueError(message)
        return self

    @property
    def prior_dataset_ref(self) -> NameRef | None:
        """Return the Dataset of prior pictures, if one is named."""
        prior = self.concept_model.prior_preservation if self.concept_model else None
        return prior.dataset_ref if prior else None

    @property
    def model_type(self) -> Literal["ConceptModel", "Embedding"]:
        """Return which of the two types of training is asked for."""
        return "ConceptModel" if self.concept_model is not None else "Embedding"
