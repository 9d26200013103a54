"""The last words of a pod: its termination message, at most 4,096 bytes, the one answer that survives the pod.

Rows are compact lists because forty checkpoints as objects would not fit: 40 rows take about 1.8 kB.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atelier_contract.base import Document, Report
from atelier_contract.dataset import FindingStatus, ResolutionStatus
from atelier_contract.names import TERMINATION_LIMIT_BYTES
from atelier_contract.progress import CheckpointRow
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role

SHORT_DIGEST = 16
CompactRow = tuple[int, int, str, float | None, int]
"""step, bytes, first 16 hex digits of sha256, held-out loss (None: unknown), number of samples."""
CompactModel = tuple[int, int, str]
"""step, bytes, first 16 hex digits of sha256 of a published model's file."""


class InspectionResult(Report):
    """What `inspect` found."""

    revision: str
    items: int
    captioned: int
    pictures_per_pass: int | None = None
    """None: as many as items."""
    bytes: int
    resolution: ResolutionStatus | None = None
    findings: list[FindingStatus] = []
    report_key: str


class PreflightResult(Report):
    """What `preflight` found."""

    run_identity: str
    """The run to train or adopt: that of an earlier object with the same spec digest, else the one asked for."""
    complete: bool = False
    """The run is finished already: nothing is trained."""
    stopped_early: bool = False
    finalized: bool = False
    """The finished run was finalized too: what is left of it is what is published."""
    published: list[CompactModel] = []
    """Its published models; only where it was finalized."""
    gpu_memory_bytes: int = 0
    storage_bytes: int = 0
    seconds: int = 0


class TrainResult(Report):
    """How an attempt of `train` ended."""

    attempt: str
    from_step: int = 0
    to_step: int = 0
    complete: bool = False
    stopped_early: bool = False
    exact: bool = True


class PublishedRow(Report):
    """One published model."""

    step: int
    sha256: str
    """64 hex digits, or the first 16 where forty models would not fit."""
    bytes: int


class PublishResult(Report):
    """What `publish` made."""

    models: list[PublishedRow]
    installed: bool | None = None
    """Whether all of them are in the InvokeAI server that was asked for, the message says more; None: none was asked
    for."""


class CollectResult(Report):
    """What `collect` deleted."""

    steps: list[int]
    reclaimed_bytes: int


class TerminationReport(Document):
    """The last words of any subcommand: exactly the result of that subcommand, or a reason and message, or both."""

    role: Role
    reason: Reason
    """Why the pod ended, as status will show it."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What was wrong, where, what to do. No caption, prompt or secret."""
    rows: list[CompactRow] = []
    """Checkpoints whole in the store, of `preflight` (an adopted run) and `train`."""
    inspection: InspectionResult | None = None
    preflight: PreflightResult | None = None
    train: TrainResult | None = None
    publish: PublishResult | None = None
    collect: CollectResult | None = None

    def to_message(self) -> str:
        """Return the message, fitted into what the kubelet keeps.

        Text gives way before rows: findings lose their examples and fixes, published digests their last digits, then
        the message is cut. Rows are never dropped: forty always fit.
        """
        report = self
        if len(report.to_bytes()) > TERMINATION_LIMIT_BYTES and report.publish is not None:
            models = [m.model_copy(update={"sha256": m.sha256[:SHORT_DIGEST]}) for m in report.publish.models]
            published = report.publish.model_copy(update={"models": models})
            report = report.model_copy(update={"publish": published})
        if len(report.to_bytes()) > TERMINATION_LIMIT_BYTES and report.inspection is not None:
            findings = [
                f.model_copy(update={"fix": f.fix[:80], "example": f.example[:60]}) for f in report.inspection.findings
            ]
            while findings and len(report.to_bytes()) > TERMINATION_LIMIT_BYTES:
                inspection = report.inspection.model_copy(update={"findings": findings})
                report = report.model_copy(update={"inspection": inspection})
                findings = findings[:-1]
        excess = len(report.to_bytes()) - TERMINATION_LIMIT_BYTES
        if excess > 0:
            kept = report.message.encode()[: max(0, len(report.message.encode()) - excess - 8)]
            report = report.model_copy(update={"message": kept.decode(errors="ignore")})
        return report.to_bytes().decode()


def compact_row(row: CheckpointRow) -> CompactRow:
    """Return a checkpoint's row as a termination message carries it."""
    loss = None if row.held_out_loss is None else round(row.held_out_loss, 5)
    return (row.step, row.bytes, row.sha256[:SHORT_DIGEST], loss, row.samples)


def expand_row(row: CompactRow) -> CheckpointRow:
    """Return the checkpoint that a compact row tells of."""
    step, size, sha256, loss, samples = row
    return CheckpointRow(step=step, bytes=size, sha256=sha256, held_out_loss=loss, samples=samples)
