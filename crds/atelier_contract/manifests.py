"""The documents in the store that readers trust.

Each is written last, after the files it lists: what a manifest names
is whole, what no manifest names does not exist.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from atelier_contract.architectures import Architecture
from atelier_contract.base import Document, Report
from atelier_contract.dataset import FindingStatus, ModelType
from atelier_contract.settings import Settings

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class OwnerManifest(Document):
    """owner.json: whose store this is."""

    cluster_uid: str
    namespace_uid: str


class PushedFile(Report):
    """One picture or caption of a push."""

    path: Annotated[str, Field(min_length=1, max_length=1024)]
    """Relative to the pushed folder, with `/` between its parts."""
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    """The content lies under `NamespaceLayout.blob`."""


class PushManifest(Document):
    """pushes/<digest>.json: a finished push, written after its blobs. The key's digest is that of these bytes.

    A dataset's contents follow from its pushes in order of time: a later push adds files and replaces those of the
    same path; one with `replaces` begins anew.
    """

    pushed_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
    """When the push ended, RFC 3339 in UTC. Example: 2026-11-23T00:37:58Z."""
    files: list[PushedFile]
    """Sorted by path."""
    replaces: bool = False
    """True: files of earlier pushes no longer belong to the dataset."""


class FileEntry(Report):
    """One file of a checkpoint or state."""

    name: str
    """File name below the manifest's folder; may hold one slash (`samples/0.png`)."""
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class ModelFile(FileEntry):
    """A file that tools load."""

    role: Literal["ConceptModel", "Embedding"]


class SampleFile(FileEntry):
    """One sample picture."""

    prompt: int
    """Index of the prompt in run.json."""


class CheckpointManifest(Document):
    """checkpoint.json. Holds no wall clock: equal weights give equal manifests."""

    step: Annotated[int, Field(ge=0)]
    run_identity: str
    type: ModelType
    architecture: Architecture
    files: list[ModelFile]
    """Empty at step 0, which is the base model and cannot be selected."""
    samples: list[SampleFile] = []
    held_out_loss: float | None = None
    empty_caption_loss: float | None = None
    """At step 0 only."""
    loss_name: Literal["heldOutLoss", "probeLoss"] = "heldOutLoss"
    """probeLoss: no pictures were held out, so it was measured on training pictures."""
    training_loss: float | None = None
    """Mean over the recent steps, with the run's own weights and draws: comparable within a run only."""
    similarity: float | None = None
    """Mean cosine of the samples to the nearest held-out pictures, by the image encoder that was given."""
    near_copies: int | None = None
    """Samples that are nearly copies of a training picture, by the same encoder."""

    @property
    def bytes(self) -> int:
        """Size of model files and samples."""
        return sum(f.bytes for f in self.files) + sum(s.bytes for s in self.samples)


class StateManifest(Document):
    """state.json: a whole state that an attempt can resume from."""

    step: Annotated[int, Field(ge=0)]
    run_identity: str
    files: list[FileEntry]
    exact: bool = True
    """False: some attempt up to this step computed otherwise than the first, so nothing that follows is exact."""


class DatasetItem(Report):
    """One usable picture of a revision."""

    path: str
    """Path relative to the source's root, as the user knows it."""
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    """Of the picture's file."""
    width: int
    """Pixels, after EXIF orientation."""
    height: int
    caption: str | None = None
    other_captions: list[str] = []
    """Further captions of the same picture; each pass draws one of all."""
    mask_path: str | None = None
    """Path of its mask (NAME.mask.png), relative to the source's root."""
    mask_sha256: Sha256 | None = None
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often a pass shows it (kohya's `NN_` folders)."""

    @model_serializer(mode="wrap")
    def leave_defaults_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write only what differs from the defaults: a revision's digest must not change by what is new here."""
        written: dict[str, Any] = write(self)
        if not self.other_captions:
            written.pop("otherCaptions", None)
        if self.repeats == 1:
            written.pop("repeats", None)
        return written


class DatasetRevision(Document):
    """revisions/<digest>.json: immutable contents of a dataset."""

    dataset: str
    source: Literal["Upload", "S3", "Volume"]
    items: list[DatasetItem]
    """Sorted by path. An uploaded item lies under its sha256; others at their path in the source."""
    findings: list[FindingStatus] = []


class CacheIndex(Document):
    """cache/<room>/<sha256>.json: what a segment of a dataset's cache holds, written after the segment.

    The segment's sha256 is in the key. Of two segments with the same key, a run's own counts first, then the older.
    """

    run_identity: str
    """Of the run that wrote it."""
    bytes: Annotated[int, Field(ge=0)]
    entries: dict[str, tuple[int, int]]
    """Offset and length in bytes of each entry, by its key."""


class ExecutionManifest(Document):
    """execution.json: how the first attempt computed; later attempts obey it or say that they are not exact."""

    threads: int
    micro_batch: int
    accumulation: int
    device: str
    capability: str
    """CPU instruction set or GPU compute capability."""
    precision: str
    layout: str
    """contiguous or channels_last."""
    compile_mode: str
    """eager, compiled, captured, or captured compiled."""
    recomputes: bool = False
    """Whether activations are recomputed in the backward pass, because they do not fit."""
    optimizer_kernel: str
    versions: dict[str, str]


class RunManifest(Document):
    """run.json: what was asked and resolved. Written once, by the first attempt."""

    job: str
    run_identity: str
    spec_digest: str
    dataset: str
    dataset_revision: str
    prior_dataset_revision: str = ""
    """Of the dataset of prior pictures; empty: the run names none."""
    trainer_image: str
    model_name: str
    slug: str
    type: ModelType
    architecture: Architecture
    settings: Settings
    base_model_digest: Sha256
    """sha256 over names and digests of the base model's files; resuming on another is refused."""
    start_from_sha256: Sha256 | None = None
    """Of the model file that the run started from; None: it started from nothing, or an older release began it."""
    prompts: list[str]
    """Prompts of the sample pictures, trigger included."""
    held_out: list[Sha256]
    """Pictures kept out of training, by content; empty: none."""


class OutcomeManifest(Document):
    """outcome.json: training is over and every checkpoint is in the store."""

    complete: Literal[True] = True
    stopped_early: bool
    last_step: int


class PublishedModel(Report):
    """One published model in final.json."""

    step: int
    key: str
    sha256: Sha256
    bytes: int


class FinalManifest(Document):
    """final.json: the tombstone. What was published and what was deleted."""

    published: list[PublishedModel]
    deleted_steps: list[int]
    reclaimed_bytes: int


class CollectedObject(Report):
    """One object that is to be deleted."""

    key: str
    bytes: Annotated[int, Field(ge=0)]


class CollectPlan(Document):
    """collecting.json: written before the first deletion, so that a torn deletion is finished and never guessed at."""

    steps: list[int]
    objects: list[CollectedObject]
