"""Whether a concept is learned: real training on the sample pictures, three seeds, measured so that it cannot flatter.

Everything that decides the figures is committed: pictures, split (12 to train on, 16 that no training sees), captions,
initial phrase, timestep grid and seeds. What is measured is the LAST checkpoint's file, loaded into a fresh diffusers
pipeline. It is compared with the lower of two losses of the base model: under the same captions (step 0), and under
the empty caption, because merely unlearning a misleading caption is not learning a concept. The control says the
captions of another concept to the same adapter: it has to do worse there than under its own.

Prints a table and writes `benchmarks/results/learning.json`. About a minute a run on one quiet core.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import ROOT, Figure, write_figures

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest, ExecutionManifest, RunManifest, StateManifest
from atelier_contract.progress import Phase, ProgressReport
from atelier_materials.dataset.triggers import put_trigger
from atelier_trainer.learn.measure import load_published, measure_pipeline, open_pipeline
from atelier_trainer.learn.train import train
from atelier_trainer.records import Picture, Workspace

BASE_MODEL = ROOT / "playground" / "base-model" / "weights"
DATASETS = ROOT / "playground" / "datasets"
SEEDS = (0, 1, 2)
STEPS = 400
RESOLUTION_PX = 64
TRIGGERS = {"ConceptModel": "TKXW", "Embedding": "<tkxw>"}
INITIAL_PHRASE = "star"
VECTORS = 4
METHODS: dict[str, dict[str, Any]] = {
    "ConceptModel": {
        "learningRate": 3e-3,
        "weightDecay": 0.01,
        "conceptModel": {"captionPrefix": "TKXW", "rank": 8, "alpha": 8, "targets": "attentionMlp", "dropout": 0},
    },
    "Embedding": {
        "learningRate": 5e-3,
        "weightDecay": 0.0,
        "embedding": {"initialPhrase": INITIAL_PHRASE, "placeholder": "<tkxw>", "vectors": VECTORS},
    },
}
"""High rates for 400 steps: the base has 2.3 million parameters, and its adapters bear what a large one's would not."""
WANTED = {"concept_model_gain": 0.5, "embedding_gain": 0.15, "control_margin": 0.0}


@dataclass
class Folders:
    """Keeps the last checkpoint's file; a benchmark has no store."""

    model: Path = Path()
    phases: list[Phase] = field(default_factory=list)

    def record_run(self, run: RunManifest) -> None:
        """Keep nothing."""

    def record_execution(self, execution: ExecutionManifest) -> None:
        """Keep nothing."""

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        """Keep nothing."""

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Remember where the file lies."""
        if manifest.files:
            self.model = folder / manifest.files[0].name

    def flush(self) -> None:
        """Wait for nothing."""

    def report(self, progress: ProgressReport) -> None:
        """Tell nobody."""

    def phase(self, phase: Phase) -> None:
        """Tell nobody."""

    def stop_asked(self) -> bool:
        """Run to the end."""
        return False

    def interrupted(self) -> bool:
        """Run to the end."""
        return False


@dataclass(frozen=True)
class Measurement:
    """Losses of one run on the held-out pictures."""

    kind: str
    seed: int
    step_0: float
    empty: float
    last: float
    control: float
    seconds: float

    @property
    def gain(self) -> float:
        """How far the last checkpoint lies below the lower of the two baselines."""
        return 1 - self.last / min(self.step_0, self.empty)

    @property
    def control_margin(self) -> float:
        """How much worse the same file does under another concept's captions."""
        return self.control / self.last - 1


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Return the pictures of a folder with their captions, by path."""
    return tuple(
        Picture(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.with_suffix(".txt").read_text().strip())
        for path in sorted(folder.iterdir())
        if path.suffix != ".txt"
    )


def build_workspace(kind: str, seed: int, scratch: Path) -> Workspace:
    """Return the workspace of one run."""
    settings = {
        "steps": STEPS,
        "everySteps": STEPS,
        "batchSize": 4,
        "resolution": RESOLUTION_PX,
        "seed": seed,
        "snrGamma": 5,
        "captionDropout": 0,
        "flip": False,
        "warmupSteps": 0,
        "schedule": "cosine",
        "precision": "float32",
        "maxGradNorm": 1,
        "validation": {"guidance": 3, "samplerSteps": 1, "heldOut": "none", "seed": 0},
        **METHODS[kind],
    }
    told = {
        "store": {"kind": "Volume", "namespace": "bench", "clusterUid": "none", "namespaceUid": "none"},
        "job": "learning",
        "runIdentity": "0" * 64,
        "specDigest": "0" * 64,
        "trainerImage": "none",
        "modelName": "Learning benchmark",
        "slug": "learning",
        "type": kind,
        "dataset": {"name": "teapots", "source": {"upload": {}}},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "tiny"}}},
        "settings": settings,
    }
    return Workspace(
        input=TrainingInput.model_validate(told),
        attempt="benchmark",
        pictures=read_pictures(DATASETS / "teapots"),
        base_model=BASE_MODEL,
        base_model_digest="0" * 64,
        scratch=scratch,
    )


def measure_run(kind: str, seed: int) -> Measurement:
    """Train once and measure the last checkpoint against both baselines and the control."""
    held_out = read_pictures(DATASETS / "teapots-heldout")
    others = json.loads((DATASETS / "teapots-control.json").read_text())
    own = [put_trigger(TRIGGERS[kind], picture.caption or "") for picture in held_out]
    # Before training each vector is the phrase's only token, so that the phrase, said once a vector, is step 0.
    first = [text.replace("<tkxw>", " ".join([INITIAL_PHRASE] * VECTORS)) for text in own]
    base = open_pipeline(BASE_MODEL)
    step_0 = measure_pipeline(base, held_out, first, RESOLUTION_PX)
    empty = measure_pipeline(base, held_out, [""] * len(held_out), RESOLUTION_PX)
    with tempfile.TemporaryDirectory(prefix="atelier-learning-") as scratch:
        folders, begun = Folders(), time.monotonic()
        train(build_workspace(kind, seed, Path(scratch)), folders, folders, folders, time.monotonic)
        seconds = time.monotonic() - begun
        trained = open_pipeline(BASE_MODEL)
        load_published(trained, folders.model, "Embedding" if kind == "Embedding" else "ConceptModel", "<tkxw>")
        last = measure_pipeline(trained, held_out, own, RESOLUTION_PX)
        control = measure_pipeline(trained, held_out, [others[p.path.name] for p in held_out], RESOLUTION_PX)
    return Measurement(kind, seed, step_0, empty, last, control, seconds)


def print_table(measurements: list[Measurement]) -> None:
    """Print one row a run."""
    print(f"{'kind':<14}{'seed':>4}{'step 0':>9}{'empty':>9}{'last':>9}{'gain':>8}{'control':>9}{'seconds':>9}")
    for m in measurements:
        losses = f"{m.step_0:>9.4f}{m.empty:>9.4f}{m.last:>9.4f}{m.gain:>8.1%}{m.control:>9.4f}{m.seconds:>9.0f}"
        print(f"{m.kind:<14}{m.seed:>4}{losses}")


def main() -> None:
    """Train all runs, print them and write the worst of each figure."""
    measurements = [measure_run(kind, seed) for kind in METHODS for seed in SEEDS]
    print_table(measurements)
    concepts = [m for m in measurements if m.kind == "ConceptModel"]
    embeddings = [m for m in measurements if m.kind == "Embedding"]
    figures: dict[str, Figure] = {
        "concept_model_gain": round(min(m.gain for m in concepts), 4),
        "embedding_gain": round(min(m.gain for m in embeddings), 4),
        "control_margin": round(min(m.control_margin for m in concepts), 4),
        "concept_model_loss": round(max(m.last for m in concepts), 5),
        "embedding_loss": round(max(m.last for m in embeddings), 5),
        "empty_caption_loss": round(concepts[0].empty, 5),
        "concept_model_step_0_loss": round(concepts[0].step_0, 5),
        "embedding_step_0_loss": round(embeddings[0].step_0, 5),
        "control_loss": round(min(m.control for m in concepts), 5),
        "steps": STEPS,
        "seeds": len(SEEDS),
        "concept_model_seconds": round(max(m.seconds for m in concepts), 1),
        "embedding_seconds": round(max(m.seconds for m in embeddings), 1),
    }
    write_figures("learning", figures)
    missed = [f"{name} is {figures[name]}, wanted {least}" for name, least in WANTED.items() if figures[name] < least]
    if missed:
        raise SystemExit("; ".join(missed))


if __name__ == "__main__":
    main()
