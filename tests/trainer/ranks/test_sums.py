"""One, two and four processes learn the same from the same batches: the first gradient, its norm, and every loss.

The gradient is compared and not what comes of it: Adam divides a wrong factor out again, for dozens of steps.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier_trainer.records import Picture
from forked_pods import Nursery, measure_crew
from learning import TEAPOTS, read_pictures
from rank_learning import Case, Measured, write_shallow_model

STEPS = 100
COUNTS = (1, 2, 4)
TOLERANCE = 1e-5
"""Relative. Sums in another order differ by some 1e-7; a missing or doubled row by 1e-1."""
EASY = {"steps": STEPS, "everySteps": STEPS, "resolution": 64, "batchSize": 4}
HARD = EASY | {"batchSize": 3, "captionDropout": 0.2, "flip": True}

Runs = dict[int, dict[str, list[Measured]]]
"""By number of processes and name of the case: what each process measured, in no order."""


@pytest.fixture(scope="module")
def runs(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Both cases, trained by one, two and four processes."""
    folder = tmp_path_factory.mktemp("sums")
    base_model = write_shallow_model(folder / "base-model")
    teapots = read_pictures(TEAPOTS)[:12]
    cases = (
        Case("easy", base_model, teapots, EASY),
        Case("hard", base_model, mask_and_widen(teapots[:5], folder), HARD),
    )
    return {count: train_together(nursery, count, folder, cases) for count in COUNTS}


def mask_and_widen(pictures: tuple[Picture, ...], folder: Path) -> tuple[Picture, ...]:
    """Return the pictures with unequal masks, the last one cut to a strip: the only one of its shape."""
    changed = []
    for number, picture in enumerate(pictures):
        with Image.open(picture.path) as opened:
            pixels = opened.convert("RGB")
        if number == len(pictures) - 1:
            pixels = pixels.crop((0, 0, pixels.width, pixels.height // 2))
        light = np.zeros((pixels.height, pixels.width), dtype=np.uint8)
        light[:, : pixels.width * (number + 1) // 8] = 255
        path, mask = folder / f"{number}.png", folder / f"{number}.mask.png"
        pixels.save(path)
        Image.fromarray(light).save(mask)
        changed.append(replace(picture, path=path, mask=mask))
    return tuple(changed)


def train_together(nursery: Nursery, count: int, folder: Path, cases: tuple[Case, ...]) -> dict[str, list[Measured]]:
    """Train the cases in so many processes."""
    assert nursery.wait(nursery.fork(measure_crew, count, folder, cases)) == 0
    found = json.loads((folder / f"{count}.json").read_text())
    return {name: [Measured(**one) for one in measured] for name, measured in found.items()}


def difference(one: list[float], other: list[float]) -> float:
    """The length of the difference of two vectors, in lengths of the one."""
    return float(np.linalg.norm(np.subtract(one, other)) / np.linalg.norm(one))


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("case", ["easy", "hard"])
def test_first_gradient_is_the_same(runs: Runs, case: str, count: int) -> None:
    """The summed gradient of the first step is that of one process, in direction and length."""
    (alone,), together = runs[1][case], runs[count][case][0]
    assert difference(alone.gradient, together.gradient) < TOLERANCE
    lengths = [float(np.linalg.norm(one.gradient)) for one in (alone, together)]
    assert lengths[1] == pytest.approx(lengths[0], rel=TOLERANCE)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("case", ["easy", "hard"])
def test_every_loss_is_the_same(runs: Runs, case: str, count: int) -> None:
    """All hundred losses are those of one process: with masks, a shape of one picture, rows that do not divide."""
    (alone,), together = runs[1][case], runs[count][case][0]
    assert len(alone.losses) == STEPS
    assert together.losses == pytest.approx(alone.losses, rel=TOLERANCE)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("case", ["easy", "hard"])
def test_all_processes_see_the_same_bits(runs: Runs, case: str, count: int) -> None:
    """The summed gradient and the losses are bit-equal in all processes, so that their weights never part."""
    first, *others = runs[count][case]
    assert len(others) == count - 1
    assert all(other == first for other in others)


def test_the_hard_case_is_hard(runs: Runs) -> None:
    """The cases differ: masks, dropout and the thin shape reach the numbers that are compared."""
    assert runs[1]["easy"][0].losses[:3] != runs[1]["hard"][0].losses[:3]
