"""Our side of the trainer's benchmark: the real entry, `learn.train.train`, from a workspace to a checkpoint's file.

Nothing is left out or put in: caching, assembly, gradients, optimiser, losses and reports are the trainer's own. It is
paced through its own control, which it asks before each step whether to stop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from trainer_pace import Finished, Pace, Task

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest, ExecutionManifest, RunManifest, StateManifest
from atelier_contract.progress import Phase, ProgressReport
from atelier_trainer.learn.execution import choose_device, plan_execution
from atelier_trainer.learn.train import train
from atelier_trainer.records import Picture, Workspace

STEPS = 2_000
"""Of a run; more than are ever measured: it is ended by a stop."""


@dataclass
class PacedStore:
    """Recorder, reporter and control in one: keeps the last checkpoint's folder and asks the pace before each step."""

    pace: Pace
    file: Path = Path()
    step: int = -1
    is_training: bool = field(default=False)
    roof_images_per_second: float | None = None

    def record_run(self, run: RunManifest) -> None:
        """Keep nothing."""

    def record_execution(self, execution: ExecutionManifest) -> None:
        """Keep nothing."""

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        """Keep nothing."""

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Remember where the file lies."""
        self.step = manifest.step
        if manifest.files:
            self.file = folder / manifest.files[0].name

    def flush(self) -> None:
        """Wait for nothing."""

    def report(self, progress: ProgressReport) -> None:
        """Keep what the device could do, as the trainer found it out."""
        if progress.matmul_share and progress.images_per_second:
            self.roof_images_per_second = progress.images_per_second / progress.matmul_share

    def phase(self, phase: Phase) -> None:
        """Notice when steps begin."""
        self.is_training = phase == "Training"

    def stop_asked(self) -> bool:
        """Pace each step; asked once before it."""
        if not self.is_training:
            return False
        self.pace.pass_step()
        return self.pace.finished

    def interrupted(self) -> bool:
        """Run until the stop."""
        return False


def run_ours(task: Task, pace: Pace) -> Finished:
    """Train as the trainer does, at the pace given, and return what it made."""
    store = PacedStore(pace)
    train(build_workspace(task), store, store, store, time.monotonic)
    if store.step != pace.steps:
        raise RuntimeError(f"the control was asked {pace.steps} times, but the run is at step {store.step}")
    return Finished(pace.steps, store.file, count_parameters(store.file), store.roof_images_per_second)


def build_workspace(task: Task) -> Workspace:
    """Return the workspace of a task: settings as the peers', no warm-up, no weighting of losses.

    Threads and compile mode are told as a resumed run's are, by the record of an earlier attempt.
    """
    told = {
        "store": {"kind": "Volume", "namespace": "bench", "clusterUid": "none", "namespaceUid": "none"},
        "job": "trainer",
        "runIdentity": "0" * 64,
        "specDigest": "0" * 64,
        "trainerImage": "none",
        "modelName": "Trainer benchmark",
        "slug": "trainer",
        "type": task.kind,
        "dataset": {"name": "pictures", "source": {"upload": {}}},
        "baseModel": {"architecture": task.architecture.value, "source": {"storage": {"path": "random"}}},
        "settings": build_settings(task),
    }
    asked = TrainingInput.model_validate(told)
    execution = None
    if task.compile_mode is not None:
        chosen = plan_execution(choose_device(), asked.settings, None, resumes=False).manifest
        execution = chosen.model_copy(update={"threads": task.threads, "compile_mode": task.compile_mode})
    return Workspace(
        input=asked,
        execution=execution,
        attempt="benchmark",
        pictures=tuple(Picture(picture.path, picture.sha256, picture.caption) for picture in task.pictures),
        base_model=task.base_model,
        base_model_digest="0" * 64,
        scratch=task.scratch,
    )


def build_settings(task: Task) -> dict[str, Any]:
    """Return the settings of a task by their JSON names."""
    concept_model = {"rank": task.rank, "alpha": task.rank, "targets": "attention", "dropout": 0}
    embedding = {"initialPhrase": task.initial_word, "placeholder": task.placeholder, "vectors": task.vectors}
    return {
        "learningRate": task.learning_rate,
        "steps": STEPS,
        "everySteps": STEPS,
        "batchSize": task.batch_size,
        "resolution": task.resolution_px,
        "seed": task.seed,
        "snrGamma": 0,
        "captionDropout": 0,
        "flip": False,
        "warmupSteps": 0,
        "schedule": "constant",
        "precision": "auto",
        "weightDecay": 0.01,
        "maxGradNorm": 1,
        "validation": {"guidance": 1, "samplerSteps": 1, "heldOut": "none", "seed": 0, "prompts": ["a"]},
        **({"embedding": embedding} if task.kind == "Embedding" else {"conceptModel": concept_model}),
    }


def count_parameters(file: Path) -> int:
    """Return how many numbers a file of kohya's or an embedding's layout holds that were trained."""
    with safe_open(file, "pt") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys() if not name.endswith(".alpha")]  # noqa: SIM118  # no mapping
    return sum(_multiply(shape) for shape in shapes)


def _multiply(shape: list[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
