"""The loss on pictures that no side has seen, of the file that a side wrote, in a fresh diffusers pipeline.

Both sides are measured by the same code, which neither trains with: same pictures, noise and timesteps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer_pace import Captioned, Task

from atelier_trainer.learn.measure import load_published, measure_pipeline, open_pipeline
from atelier_trainer.records import Picture


def measure_file(task: Task, held_out: Sequence[Captioned], file: Path) -> float:
    """Return the mean squared error over held-out pictures with a model file loaded as its users load it."""
    pipeline = open_pipeline(task.base_model)
    load_published(pipeline, file, task.kind, task.placeholder)
    pictures = [Picture(picture.path, picture.sha256, picture.caption) for picture in held_out]
    texts = [task.placeholder if task.kind == "Embedding" else picture.caption for picture in held_out]
    return measure_pipeline(pipeline, pictures, texts, task.resolution_px)
