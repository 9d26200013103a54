"""What an inspection tells of a dataset, file by file: the report beside a revision, and what `dataset check` prints.

The status counts kinds of findings; here is each file with its fault, how the pictures are shaped, and what a training
on them would take. It holds no caption and no wall clock: the same contents, looked at the same way, give the same
bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.architectures import Architecture
from atelier_contract.base import Document, Report
from atelier_contract.dataset import FindingStatus, ModelType, ResolutionStatus


class FileFinding(Report):
    """One file with one fault."""

    reason: str
    """One word. Example: NearDuplicatePicture."""
    severity: Literal["Error", "Warning", "Info"]
    path: str
    """Of the file, relative to the source's root; or what is meant where the whole dataset is."""
    detail: str = ""
    """What was seen there. Example: 93 tokens, of which 75 are read."""
    other: str = ""
    """Path of another file that it is about, such as the one it nearly equals; ends what the detail begins."""
    fix: str
    """What to do."""


class BucketCount(Report):
    """One shape that pictures are trained in."""

    width: int
    """Pixels."""
    height: int
    pictures: int


class TrainingPlan(Report):
    """What training one type of model of one family on these pictures takes, with the built-in defaults."""

    architecture: Architecture
    type: ModelType
    resolution: int
    """Side of a square training picture, in pixels."""
    batch_size: int
    steps: int
    passes: float
    """How often each picture is seen: steps x batch size / pictures of a pass."""
    buckets: list[BucketCount]
    """The most pictures first."""
    gpu_memory_bytes: int
    """The least that suffices."""
    storage_bytes: int
    """Of checkpoints, samples and states."""
    cache_bytes: int
    """Of the dataset's encodings."""
    seconds: int
    """Of the steps alone, on a GPU of a third of an H200's speed."""


class DatasetReport(Document):
    """reports/<digest>.json: an inspection in full. Its page for people lies beside it, under the same name."""

    dataset: str
    source: Literal["Upload", "S3", "Volume"]
    revision: str
    """Digest of the contents; empty: there is no usable picture."""
    layout: str = ""
    """A sentence on how the files lie and where captions were found."""
    pictures: Annotated[int, Field(ge=0)]
    """Files that are meant as pictures, usable or not."""
    items: Annotated[int, Field(ge=0)]
    """Usable pictures."""
    captioned: Annotated[int, Field(ge=0)]
    pictures_per_pass: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    resolution: ResolutionStatus | None = None
    trigger: str = ""
    """What captions were held against; empty: none was named."""
    findings: list[FindingStatus] = []
    """By kind, gravest first."""
    files: list[FileFinding] = []
    """By file, gravest kind first; at most a thousand of a kind."""
    plans: list[TrainingPlan] = []
