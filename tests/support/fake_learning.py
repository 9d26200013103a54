"""A training that computes nothing: the same partners are called in the same order, in milliseconds and without torch.

Its weights are a few bytes that follow from the step alone, so that two attempts make equal files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from atelier_contract.identity import name_checkpoint
from atelier_contract.manifests import (
    CheckpointManifest,
    ExecutionManifest,
    FileEntry,
    ModelFile,
    RunManifest,
    SampleFile,
    StateManifest,
)
from atelier_contract.progress import ProgressReport
from atelier_trainer.records import Clock, Control, Recorder, Reporter, Workspace


@dataclass(frozen=True)
class FakeOutcome:
    """As `learn.train.Outcome`."""

    from_step: int
    to_step: int
    complete: bool
    stopped_early: bool
    interrupted: bool
    exact: bool = True
    quality: str = ""


def learn(workspace: Workspace, recorder: Recorder, reporter: Reporter, control: Control, clock: Clock) -> FakeOutcome:
    """Pretend to train."""
    asked = workspace.input
    settings = asked.settings
    begun = workspace.state.manifest.step if workspace.state else 0
    if workspace.run is None:
        recorder.record_run(build_run(workspace))
        recorder.record_execution(EXECUTION)
    kept = {checkpoint.manifest.step for checkpoint in workspace.checkpoints}
    reporter.phase("Training")
    for step in range(begun, settings.steps + 1):
        if control.interrupted():
            recorder.flush()
            return FakeOutcome(begun, step, complete=False, stopped_early=False, interrupted=True)
        reporter.report(
            ProgressReport(
                run_identity=asked.run_identity,
                attempt=workspace.attempt,
                phase="Training",
                step=step,
                total_steps=settings.steps,
                from_step=begun,
            )
        )
        stops = control.stop_asked()
        if step % settings.every_steps == 0 or step == settings.steps or stops:
            if step > begun:
                recorder.record_state(*build_state(workspace, step))
            if step not in kept:
                recorder.record_checkpoint(*build_checkpoint(workspace, step))
        if stops:
            recorder.flush()
            return FakeOutcome(begun, step, complete=True, stopped_early=True, interrupted=False)
    recorder.flush()
    return FakeOutcome(begun, settings.steps, complete=True, stopped_early=False, interrupted=False)


EXECUTION = ExecutionManifest(
    threads=1,
    micro_batch=4,
    accumulation=1,
    device="none",
    capability="none",
    precision="float32",
    layout="contiguous",
    compile_mode="eager",
    optimizer_kernel="none",
    versions={},
)


def build_run(workspace: Workspace) -> RunManifest:
    """Return run.json of a pretended run."""
    asked = workspace.input
    return RunManifest(
        job=asked.job,
        run_identity=asked.run_identity,
        spec_digest=asked.spec_digest,
        dataset=asked.dataset.name,
        dataset_revision=asked.dataset.revision,
        trainer_image=asked.trainer_image,
        model_name=asked.model_name,
        slug=asked.slug,
        type=asked.type,
        architecture=asked.base_model.architecture,
        settings=asked.settings,
        base_model_digest=workspace.base_model_digest,
        start_from_sha256=workspace.start_from_sha256,
        prompts=["TKXW"],
        held_out=[],
    )


def build_checkpoint(workspace: Workspace, step: int) -> tuple[Path, CheckpointManifest]:
    """Return folder and manifest of a pretended checkpoint: weights beyond step 0, one sample."""
    folder = workspace.scratch / "checkpoints" / name_checkpoint(step)
    (folder / "samples").mkdir(parents=True)
    sample = _put(folder, "samples/0.png", b"sample of %d" % step)
    files = []
    if step:
        name = "concept-model.safetensors" if workspace.input.type == "ConceptModel" else "embedding.safetensors"
        weights = _put(folder, name, b"weights of step %d" % step)
        files = [ModelFile(**weights.model_dump(), role=workspace.input.type)]
        concept = workspace.input.settings.concept_model
        if concept is not None and concept.embedding is not None:
            rows = _put(folder, "embedding.safetensors", b"rows of step %d" % step)
            files.append(ModelFile(**rows.model_dump(), role="Embedding"))
    manifest = CheckpointManifest(
        step=step,
        run_identity=workspace.input.run_identity,
        type=workspace.input.type,
        architecture=workspace.input.base_model.architecture,
        files=files,
        samples=[SampleFile(**sample.model_dump(), prompt=0)],
        held_out_loss=0.2 / (step + 1),
    )
    return folder, manifest


def build_state(workspace: Workspace, step: int) -> tuple[Path, StateManifest]:
    """Return folder and manifest of a pretended state."""
    folder = workspace.scratch / "states" / name_checkpoint(step)
    folder.mkdir(parents=True)
    entry = _put(folder, "weights.safetensors", b"state of step %d" % step)
    return folder, StateManifest(step=step, run_identity=workspace.input.run_identity, files=[entry])


def _put(folder: Path, name: str, data: bytes) -> FileEntry:
    (folder / name).write_bytes(data)
    return FileEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
