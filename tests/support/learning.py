"""Builders and fakes for the trainer's learning half: a small run on the tiny base model, kept in folders.

`build_settings` gives a run of seconds; each test names only what it is about. `FolderRecorder` keeps what it is given
as the store would and can be read back into the next attempt's workspace.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest, ExecutionManifest, RunManifest, StateManifest
from atelier_contract.progress import Phase, ProgressReport
from atelier_contract.settings import Settings
from atelier_trainer.records import Control, LocalCheckpoint, LocalState, Picture, Workspace

ROOT = Path(__file__).resolve().parents[2]
BASE_MODEL = ROOT / "playground" / "base-model" / "weights"
TEAPOTS = ROOT / "playground" / "datasets" / "teapots"
HELD_OUT_TEAPOTS = ROOT / "playground" / "datasets" / "teapots-heldout"
IDENTITY = "1" * 64
BASE_DIGEST = "b" * 64

CONCEPT_MODEL = {"captionPrefix": "TKXW", "rank": 4, "alpha": 2, "targets": "attentionMlp", "dropout": 0}
PIVOTAL = {
    "initialPhrase": "object",
    "placeholder": "<tkxw>",
    "vectors": 2,
    "learningRate": 3e-3,
    "untilPercent": 50,
}
EMBEDDING = {"initialPhrase": "red star", "placeholder": "<tkxw>", "vectors": 3}


def build_settings(**changes: Any) -> Settings:
    """Return settings of a concept model of 6 steps, with changes by their JSON names; `validation` is merged."""
    validation = {"guidance": 3, "samplerSteps": 2, "heldOut": "auto", "seed": 0, "prompts": ["a star"]}
    settings: dict[str, Any] = {
        "learningRate": 1e-3,
        "steps": 6,
        "batchSize": 4,
        "resolution": 64,
        "seed": 7,
        "snrGamma": 5,
        "captionDropout": 0.1,
        "flip": False,
        "warmupSteps": 2,
        "schedule": "cosine",
        "precision": "auto",
        "weightDecay": 0.01,
        "maxGradNorm": 1,
        "everySteps": 3,
        "validation": validation | changes.pop("validation", {}),
    }
    if "embedding" not in changes:
        settings["conceptModel"] = CONCEPT_MODEL | changes.pop("conceptModel", {})
    return Settings.model_validate(settings | changes)


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Return the pictures of a folder with their sidecar captions, by path."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})
    return tuple(
        Picture(
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            caption=path.with_suffix(".txt").read_text().strip() if path.with_suffix(".txt").is_file() else None,
        )
        for path in paths
    )


def build_told(settings: Settings, architecture: str = "StableDiffusion1") -> TrainingInput:
    """Return what a trainer of the teapots is told."""
    return TrainingInput.model_validate(
        {
            "store": {"kind": "Volume", "namespace": "art", "clusterUid": "c", "namespaceUid": "n"},
            "job": "teapot",
            "runIdentity": IDENTITY,
            "specDigest": "5" * 64,
            "trainerImage": "trainer:test",
            "modelName": "TKXW teapot",
            "slug": "tkxw-teapot",
            "type": "Embedding" if settings.embedding else "ConceptModel",
            "dataset": {"name": "teapots", "source": {"upload": {}}, "revision": "d" * 64},
            "baseModel": {"architecture": architecture, "source": {"storage": {"path": "base-models/tiny"}}},
            "settings": settings.as_json(),
        }
    )


def build_workspace(scratch: Path, settings: Settings, **changes: Any) -> Workspace:
    """Return a workspace on the tiny base model and the teapots; `scratch` is made."""
    scratch.mkdir(parents=True)
    workspace = Workspace(
        input=build_told(settings),
        attempt=f"attempt-{scratch.name}",
        pictures=read_pictures(TEAPOTS),
        base_model=BASE_MODEL,
        base_model_digest=BASE_DIGEST,
        scratch=scratch,
    )
    return replace(workspace, **changes)


@dataclass
class FolderRecorder:
    """Keeps what a run records, in the order it was given."""

    run: RunManifest | None = None
    execution: ExecutionManifest | None = None
    checkpoints: dict[int, tuple[Path, CheckpointManifest]] = field(default_factory=dict)
    states: dict[int, tuple[Path, StateManifest]] = field(default_factory=dict)
    is_flushed: bool = True

    def record_run(self, run: RunManifest) -> None:
        assert self.run is None, "run.json is written once"
        self.run = run

    def record_execution(self, execution: ExecutionManifest) -> None:
        assert self.execution is None, "execution.json is written once"
        self.execution = execution

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        assert manifest.step not in self.checkpoints, "the first whole manifest of a step wins"
        self.checkpoints[manifest.step] = (folder, manifest)
        self.is_flushed = False

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        self.states[manifest.step] = (folder, manifest)
        self.is_flushed = False

    def flush(self) -> None:
        self.is_flushed = True

    def resume(self, workspace: Workspace, *, state: int | None = None) -> Workspace:
        """Return the next attempt's workspace: what was recorded, and a state (default: the newest)."""
        step = max(self.states) if state is None and self.states else state
        kept = self.states[step] if step is not None else None
        return replace(
            workspace,
            run=self.run,
            execution=self.execution,
            state=LocalState(*kept) if kept else None,
            checkpoints=tuple(LocalCheckpoint(manifest) for _, manifest in self.checkpoints.values()),
        )

    def model(self, step: int) -> Path:
        """Return the model file of a checkpoint."""
        return self.checkpoints[step][0] / "model.safetensors"


@dataclass
class ScriptedControl:
    """Asks for an end from a number of steps on; never by default.

    Training asks for a stop once before each step, so that is where steps are counted once they have begun, which
    `KeptReports` tells; whether it is interrupted it asks at many places. A stop from -1 on comes before everything.
    """

    stop_from: int | None = None
    interrupt_from: int | None = None
    steps: int = 0
    is_training: bool = False

    def stop_asked(self) -> bool:
        if not self.is_training:
            return self.stop_from is not None and self.stop_from < 0
        self.steps += 1
        return self.stop_from is not None and self.steps > self.stop_from

    def interrupted(self) -> bool:
        return self.interrupt_from is not None and self.steps >= self.interrupt_from


@dataclass
class KeptReports:
    """A reporter that keeps everything it was told, and lets a control know when steps begin."""

    control: Control = field(default_factory=ScriptedControl)
    reports: list[ProgressReport] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def report(self, progress: ProgressReport) -> None:
        self.reports.append(progress)

    def phase(self, phase: Phase) -> None:
        self.phases.append(phase)
        if phase == "Training" and isinstance(self.control, ScriptedControl):
            self.control.is_training = True


@dataclass
class SteppedClock:
    """A clock that moves on by a fixed time whenever it is read."""

    seconds_per_look: float = 0.001
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.seconds_per_look
        return self.now
