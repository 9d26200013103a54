"""The kind Dataset: pictures and captions, where they come from, and what an inspection found."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from atelier_contract.base import CelRule, Report, Spec, keyed_by
from atelier_contract.conditions import ConditionStatus
from atelier_contract.references import ClaimSource, NameRef, StorageSpec

KIND: Final = "Dataset"
PLURAL = "datasets"
SHORT_NAME = "dset"
MAX_FINDINGS = 20

ModelType = Literal["ConceptModel", "Embedding"]
"""The two types of training: a LoRA adapter, or a textual inversion."""


class DatasetLayout(StrEnum):
    """How captions and repeats are told in a folder of pictures."""

    PLAIN = "Plain"
    """Pictures alone: whatever else lies there is not read."""
    SIDECARS = "Sidecars"
    """NAME.txt or NAME.caption beside NAME.png."""
    TABLE = "Table"
    """metadata.jsonl, .csv or .parquet with the columns file_name and text."""
    KOHYA = "Kohya"
    """Folders named NN_words: NN repeats, and the words for pictures without a caption file."""
    KOHYA_TOML = "KohyaToml"
    """Kohya's dataset configuration, a TOML beside the folders that it names."""
    IMAGE_FOLDER = "ImageFolder"
    """Hugging Face's: split folders (train/), tables in them, or class folders whose names are captions."""


class UploadSource(Spec):
    """Items arrive by `kubectl atelier dataset push FOLDER`; a push counts when it is finished."""


class S3Source(Spec):
    """A prefix of a bucket, the namespace's own or a foreign one."""

    uri: Annotated[str, Field(min_length=6, max_length=512, pattern=r"^s3://[a-z0-9][a-z0-9.-]*(/.*)?$")]
    """Bucket and prefix. Example: s3://studio/teapots. Immutable pictures are verified at every start."""
    secret_ref: NameRef | None = None
    """Secret with endpoint and keys of a foreign bucket. Default: the storage Secret."""


EXACTLY_ONE_SOURCE: CelRule = {
    "rule": "[has(self.upload), has(self.s3), has(self.persistentVolumeClaim)].exists_one(x, x)",
    "message": "name exactly one of upload (write `upload: {}`), s3 and persistentVolumeClaim",
}


class DatasetSource(Spec):
    """Where the items come from: exactly one of three."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [EXACTLY_ONE_SOURCE]}}

    upload: UploadSource | None = None
    """Items are pushed into the namespace's store. Write `upload: {}`."""
    s3: S3Source | None = None
    """Items lie in a bucket already."""
    persistent_volume_claim: ClaimSource | None = None
    """Items lie in a volume of the namespace."""

    @model_validator(mode="after")
    def require_one(self) -> DatasetSource:
        """Refuse none or several sources, as the API server does.

        Raises:
            ValueError: not exactly one source is named.
        """
        if sum(source is not None for source in (self.upload, self.s3, self.persistent_volume_claim)) != 1:
            raise ValueError(EXACTLY_ONE_SOURCE["message"])
        return self


class DatasetSpec(Spec):
    """What a person says of a dataset."""

    description: Annotated[str, Field(max_length=2000)] | None = None
    """What the pictures show, for people. Mutable. Example: Studio photographs of the TKXW teapot."""
    source: DatasetSource
    """Where pictures and captions come from. Mutable: a change is inspected anew."""
    layout: DatasetLayout | None = None
    """How captions and repeats are told. Mutable. Default: detected, and said by `dataset check`. Example: Kohya."""
    storage: StorageSpec | None = None
    """Store that keeps revisions and pushes. Default: the Secret atelier-storage. Must be the jobs' storage."""


class FindingStatus(Report):
    """One thing an inspection found, counted over all items."""

    reason: Annotated[str, Field(max_length=64)]
    """One word. Example: UnreadablePicture."""
    severity: Literal["Error", "Warning", "Info"]
    """Error: the items are left out or the dataset is not usable. Warning: look at it. Info: good to know."""
    count: Annotated[int, Field(ge=0)]
    """How many items."""
    example: Annotated[str, Field(max_length=256)] = ""
    """One of the items, by its path."""
    fix: Annotated[str, Field(max_length=256)] = ""
    """What to do."""


class ResolutionStatus(Report):
    """Shorter sides of the pictures, in pixels."""

    min_px: Annotated[int, Field(ge=0)]
    """The smallest."""
    median_px: Annotated[int, Field(ge=0)]
    """The median."""
    max_px: Annotated[int, Field(ge=0)]
    """The largest."""


class DatasetStatus(Report):
    """What the operator knows of a dataset."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec that this status speaks of."""
    conditions: Annotated[list[ConditionStatus], Field(max_length=16, json_schema_extra=keyed_by("type"))] = []
    """Ready, Reconciling, Stalled."""
    revision: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the contents last inspected. Jobs pin it."""
    items: Annotated[int, Field(ge=0)] | None = None
    """Usable pictures."""
    captioned: Annotated[int, Field(ge=0)] | None = None
    """Usable pictures that have a caption."""
    pictures_per_pass: Annotated[int, Field(ge=0)] | None = None
    """Pictures of one pass: more than items where folders ask for repeats. Templates derive steps from it."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the usable pictures, in bytes."""
    usable_for: (
        Annotated[list[ModelType], Field(max_length=2, json_schema_extra={"x-kubernetes-list-type": "set"})] | None
    ) = None
    """Types of training this dataset can be used for. A full set of captions makes it usable for both."""
    resolution: ResolutionStatus | None = None
    """Shorter sides of the pictures."""
    findings: Annotated[list[FindingStatus], Field(max_length=MAX_FINDINGS)] | None = None
    """What the inspection found, gravest first."""
    inspected_at: Annotated[str, Field(max_length=32)] | None = None
    """When the last inspection ended, RFC 3339."""
    report_key: Annotated[str, Field(max_length=1024)] | None = None
    """Key of the inspection's report in the store, a JSON document; its page lies beside it as .html."""
    last_handled_inspect_at: Annotated[str, Field(max_length=64)] | None = None
    """Value of the annotation atelier.dev/inspect-requested-at that was last acted on."""
    attempts: Annotated[int, Field(ge=0)] | None = None
    """Inspection Jobs started so far: the ordinal of the last."""
    failures: Annotated[int, Field(ge=0)] | None = None
    """Inspections that failed in a row: the pause before the next one grows with it."""
    inspected_spec_digest: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the spec that the last inspection looked at."""
