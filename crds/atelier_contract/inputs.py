"""What the operator tells a pod: `input.json` and `control.json` in a ConfigMap volume.

No cluster words in it: a person can write these files by hand and run the trainer on a laptop.

One input per subcommand. Credentials are never in it: the store's are mounted files (`names.STORE_SECRET_DIR`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.architectures import Architecture
from atelier_contract.base import Document, Report
from atelier_contract.dataset import DatasetLayout, DatasetSource, ModelType
from atelier_contract.publishing import PublishSpec
from atelier_contract.settings import Settings
from atelier_contract.training_job import BaseModelSource

Step = Annotated[int, Field(ge=0)]


class StoreInput(Report):
    """The namespace's store, as the pod sees it."""

    kind: Literal["S3", "Volume"]
    """S3: described by files in names.STORE_SECRET_DIR. Volume: mounted at names.STORE_VOLUME_DIR."""
    secret_name: str = ""
    """Name of the Secret, for messages only."""
    volume_path: str = ""
    """Folder inside the volume."""
    namespace: str
    """Namespace part of every key."""
    cluster_uid: str
    """Who owns the store: written to owner.json once, compared afterwards."""
    namespace_uid: str


class DatasetInput(Report):
    """The dataset a run is pinned to."""

    name: str
    source: DatasetSource
    revision: str = ""
    """Revision to verify against; empty for an inspection."""
    layout: DatasetLayout | None = None
    """For an inspection: how captions are told; None: it is detected."""


class InspectInput(Document):
    """Input of `inspect`."""

    store: StoreInput
    dataset: DatasetInput


class BaseModelInput(Report):
    """The base model of a run."""

    architecture: Architecture
    source: BaseModelSource


class StartFromInput(Report):
    """A checkpoint of another job to go on from."""

    job: str
    checkpoint: str


class TrainingInput(Document):
    """Input of `preflight` and `train`: the resolved run."""

    store: StoreInput
    job: str
    """Name of the TrainingJob: a part of keys and published names."""
    run_identity: str
    spec_digest: str
    """By it, preflight finds a run that a deleted object of the same name and spec left behind."""
    trainer_image: str
    model_name: str
    slug: str
    type: ModelType
    dataset: DatasetInput
    base_model: BaseModelInput
    settings: Settings
    start_from: StartFromInput | None = None
    prior_dataset: DatasetInput | None = None
    """Pictures for prior preservation; None: none, or the base model draws them."""
    gpu_memory_bytes: int | None = None
    """Memory of one GPU where the operator knows it; None: preflight does not judge."""


class SelectedCheckpoint(Report):
    """One checkpoint to publish or to delete, as status told of it."""

    step: Step
    sha256: str
    """Digest of its first model file, or the first 16 hex digits of it."""


class PublishInput(Document):
    """Input of `publish`."""

    store: StoreInput
    job: str
    run_identity: str
    model_name: str
    slug: str
    selection: Annotated[list[SelectedCheckpoint], Field(min_length=1)]
    publish: PublishSpec | None = None


class CollectInput(Document):
    """Input of `collect`: exactly what to delete, fixed before the first deletion."""

    store: StoreInput
    job: str
    run_identity: str
    kept: list[SelectedCheckpoint]
    """Selected and published: verified to be there before anything is deleted."""
    deleted: list[SelectedCheckpoint]
    """Checkpoints whose objects go."""
    whole_run: bool = False
    """The TrainingJob itself is deleted with policy Delete: everything below the run goes, published models stay."""


class ControlFile(Document):
    """control.json: what may change while a pod runs. The trainer reads it again every few seconds."""

    stop: bool = False
    """End now and keep the current step's checkpoint."""
