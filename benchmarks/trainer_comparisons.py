"""What is compared on the CPU: four ways to train, each of ours beside one that people use today, on the same data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from figures import ROOT
from trainer_models import NARROW, QUARTER, Shape, write_model
from trainer_pace import Captioned, Task
from trainer_turns import SideName

from atelier_contract.dataset import ModelType

MODELS = ROOT / "build" / "trainer-bench"
PICTURES = ROOT / "playground" / "datasets" / "teapots"
HELD_OUT = ROOT / "playground" / "datasets" / "teapots-heldout"
HELD_OUT_PICTURES = 4
RANK = 8
THREADS = 1
"""Of each side: what the trainer takes on the CPU."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of ours with one way that people train today."""

    name: str
    kind: ModelType
    shape: Shape
    resolution_px: int
    batch_size: int
    learning_rate: float
    peer: SideName
    steps: int
    """Of a stretch: all sides have learned for as many when their losses are compared."""
    loss_pairs: int = 2
    """Seeds whose losses are compared, the timed run's among them; as many as the noise of their ratio asks for."""
    fewest_loss_pairs: int = 2
    """Of those, where the time is short."""
    compiles: bool = False
    """Whether ours is measured compiled as well."""


LORA = Comparison("lora", "ConceptModel", QUARTER, 128, 4, 1e-3, "lora example", 3)
EMBEDDING = Comparison("embedding", "Embedding", QUARTER, 128, 4, 5e-3, "inversion example", 3)
STEP = Comparison("step", "ConceptModel", QUARTER, 256, 4, 1e-3, "peft loop", 2, loss_pairs=1, fewest_loss_pairs=1)
HOST = Comparison(
    "host", "ConceptModel", NARROW, 64, 1, 1e-3, "peft loop", 15, loss_pairs=15, fewest_loss_pairs=7, compiles=True
)
COMPARISONS = (LORA, EMBEDDING, STEP, HOST)


def read_captioned(folder: Path) -> tuple[Captioned, ...]:
    """Return the pictures of a folder with their captions, by path."""
    return tuple(
        Captioned(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.with_suffix(".txt").read_text().strip())
        for path in sorted(folder.iterdir())
        if path.suffix != ".txt"
    )


def build_task(comparison: Comparison) -> Task:
    """Return what all sides of a comparison train."""
    pictures = read_captioned(PICTURES)
    if comparison.kind == "Embedding":  # the public example has no captions: it draws from a list of phrasings
        pictures = tuple(replace(picture, caption="") for picture in pictures)
    return Task(
        kind=comparison.kind,
        base_model=write_model(comparison.shape, MODELS),
        architecture=comparison.shape.architecture,
        pictures=pictures,
        resolution_px=comparison.resolution_px,
        batch_size=comparison.batch_size,
        rank=RANK,
        learning_rate=comparison.learning_rate,
        placeholder="<tkxw>",
        initial_word="a",
        vectors=4,
        threads=THREADS,
        warm_steps=len(pictures) // comparison.batch_size,
        seed=0,
        scratch=Path(),
    )


def read_held_out() -> tuple[Captioned, ...]:
    """Return the pictures that no side sees."""
    return read_captioned(HELD_OUT)[:HELD_OUT_PICTURES]


def build_seeds(comparison: Comparison, pairs: int) -> list[Task]:
    """Return the timed run's task with each seed but its own, as many steps long as that run."""
    task = build_task(comparison)
    steps = task.warm_steps + pairs * comparison.steps
    return [replace(task, seed=task.seed + more, warm_steps=steps) for more in range(1, comparison.loss_pairs)]
