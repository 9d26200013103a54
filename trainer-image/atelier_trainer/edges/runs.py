"""What a run has left in the store: its documents, and the earlier runs of the same job's name."""

from __future__ import annotations

from dataclasses import dataclass

from atelier_contract.layout import RunLayout
from atelier_contract.manifests import (
    CheckpointManifest,
    FinalManifest,
    OutcomeManifest,
    RunManifest,
)
from atelier_contract.progress import CheckpointRow
from atelier_materials.store.documents import find_document, read_document
from atelier_trainer.edges.home import Home


@dataclass(frozen=True)
class EarlierRun:
    """A run of the same job's name that lies in the store."""

    layout: RunLayout
    manifest: RunManifest
    outcome: OutcomeManifest | None
    final: FinalManifest | None
    begun_seconds: float
    """When run.json was written, by the store's clock."""


def to_row(manifest: CheckpointManifest) -> CheckpointRow:
    """Return what progress and last words tell of a checkpoint."""
    return CheckpointRow(
        step=manifest.step,
        bytes=manifest.bytes,
        sha256=manifest.files[0].sha256 if manifest.files else "",
        held_out_loss=manifest.held_out_loss,
        samples=len(manifest.samples),
    )


def list_runs(home: Home, job: str) -> list[EarlierRun]:
    """Return the runs of a job's name, the latest begun first."""
    found = []
    for entry in home.store.list(home.layout.runs(job)):
        if entry.key.endswith("/run.json") and entry.key.count("/") == home.layout.runs(job).count("/") + 2:
            manifest = read_document(home.store, entry.key, RunManifest)
            layout = home.layout.run(job, manifest.run_identity)
            outcome = find_document(home.store, layout.outcome, OutcomeManifest)
            final = find_document(home.store, layout.final, FinalManifest)
            found.append(EarlierRun(layout, manifest, outcome, final, entry.modified_seconds))
    return sorted(found, key=lambda run: run.begun_seconds, reverse=True)
