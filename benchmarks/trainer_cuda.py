"""The trainer on a GPU: pictures a second for the real denoisers of all families, beside bars set beforehand.

Random weights serve: a step costs the same whatever they know. The trainer chooses everything itself, as in a pod
(number format, captured steps, compiled blocks), and is measured through its own entry; pictures are drawn here, so
that nothing is needed but the packages. Where there is no GPU nothing is measured and no number is printed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from figures import ROOT, Figure, write_figures
from PIL import Image
from trainer_models import REAL, write_model
from trainer_pace import Captioned, Task
from trainer_statistics import estimate
from trainer_turns import open_sides, take_turns

from atelier_contract.architectures import Architecture

MODELS = ROOT / "build" / "trainer-bench"
STRETCHES = 9
PICTURES = 16
RANK = 16
MOST_LAUNCHES = 20
"""Host launches of a captured step that are still few."""
OURS = "ours"


@dataclass(frozen=True)
class Bar:
    """Pictures a second: what the hardware's arithmetic and public figures of others let one expect of one H200."""

    floor: float
    good: float
    excellent: float

    def judge(self, images_per_second: float) -> str:
        """Return the highest grade that is reached."""
        grades = {"excellent": self.excellent, "good": self.good, "floor": self.floor}
        return next((grade for grade, least in grades.items() if images_per_second >= least), "below the floor")


@dataclass(frozen=True)
class Case:
    """One family at one batch size."""

    architecture: Architecture
    resolution_px: int
    batch_size: int
    steps: int
    """Of a stretch: a few seconds."""
    bar: Bar


CASES = (
    Case(Architecture.STABLE_DIFFUSION_1, 512, 1, 100, Bar(40, 80, 120)),
    Case(Architecture.STABLE_DIFFUSION_1, 512, 4, 50, Bar(90, 150, 200)),
    Case(Architecture.STABLE_DIFFUSION_1, 512, 16, 20, Bar(130, 190, 240)),
    Case(Architecture.STABLE_DIFFUSION_XL, 1024, 1, 20, Bar(8, 14, 18)),
    Case(Architecture.STABLE_DIFFUSION_XL, 1024, 4, 10, Bar(13, 19, 24)),
    Case(Architecture.STABLE_DIFFUSION_XL, 1024, 16, 3, Bar(15, 21, 27)),
    Case(Architecture.FLUX_1, 1024, 1, 5, Bar(1.5, 2.3, 2.8)),
    Case(Architecture.FLUX_1, 1024, 4, 2, Bar(2.0, 2.6, 3.0)),
)


def draw_pictures(folder: Path, side_px: int) -> tuple[Captioned, ...]:
    """Draw pictures of noise in a folder and return them with captions."""
    drawn = []
    for number in range(PICTURES):
        path = folder / f"{number:02}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        drawn.append(Captioned(path, hashlib.sha256(path.read_bytes()).hexdigest(), f"noise number {number}"))
    return tuple(drawn)


def measure_case(case: Case) -> dict[str, Figure]:
    """Return the figures of one case, and print its row."""
    with tempfile.TemporaryDirectory(prefix="atelier-bench-") as folder:
        task = Task(
            kind="ConceptModel",
            base_model=write_model(REAL[case.architecture], MODELS, device="cuda"),
            architecture=case.architecture,
            pictures=draw_pictures(Path(folder), case.resolution_px),
            resolution_px=case.resolution_px,
            batch_size=case.batch_size,
            rank=RANK,
            learning_rate=1e-4,
            placeholder="",
            initial_word="",
            vectors=1,
            threads=1,
            warm_steps=PICTURES,
            seed=0,
            scratch=Path(),
            compile_mode=None,
        )
        torch.cuda.empty_cache()  # what drew the weights must not stand in the way of the process that is measured
        with open_sides({OURS: ("ours", task)}) as sides:
            measured = take_turns(sides, STRETCHES, case.steps)[OURS]
            launches = sides[OURS].profile()
            finished = sides[OURS].finish()
    rate = estimate([case.batch_size / seconds for seconds in measured.seconds])
    roof = finished.roof_images_per_second
    share = f"{rate.median / roof:.1%} of the roof" if roof else "roof unknown"
    name = f"{REAL[case.architecture].name}_batch_{case.batch_size}"
    grade = case.bar.judge(rate.median)
    print(f"{name:<32}{rate!s:>28} images/s  {grade:<16}{launches:>6} launches  {share}")
    figures: dict[str, Figure] = {
        f"{name}_images_per_second": round(rate.median, 3),
        f"{name}_images_per_second_low": round(rate.low, 3),
        f"{name}_images_per_second_high": round(rate.high, 3),
        f"{name}_grade": grade,
        f"{name}_launches": launches,
        f"{name}_start_seconds": round(measured.ready.seconds, 1),
    }
    if roof:
        figures[f"{name}_matmul_share"] = round(rate.median / roof, 4)
    return figures


def list_missed(figures: dict[str, Figure]) -> list[str]:
    """Say which figures are not as wanted."""
    slow = [
        name for name, value in figures.items() if name.endswith("_grade") and value in ("floor", "below the floor")
    ]
    chatty = [name for name, value in figures.items() if name.endswith("_launches") and float(value) > MOST_LAUNCHES]
    return [f"{name} is {figures[name]}, wanted good" for name in slow] + [
        f"{name} is {figures[name]}, wanted at most {MOST_LAUNCHES}" for name in chatty
    ]


def main(cases: Sequence[Case] = CASES) -> None:
    """Measure, print, write `benchmarks/results/trainer-cuda.json`, and fail where a figure is not as wanted."""
    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here: nothing was measured.")
    figures: dict[str, Figure] = {"gpu": torch.cuda.get_device_name(), "rank": RANK}
    for case in cases:
        figures |= measure_case(case)
    write_figures("trainer-cuda", figures)
    if missed := list_missed(figures):
        raise SystemExit("; ".join(missed))
