"""The trainer beside what people use today, on the CPU: four comparisons in one run of at most 20 minutes.

`lora` and `embedding` are training as users run it: the public examples encode pictures and prompts in every step, ours
once, and the start-up of both (loading, caching, the first losses) is counted at its share of a 2,000-step run. `step`
is the step alone where arithmetic rules, `host` where the host's own work does. Every figure is a ratio within pairs
that were measured right after each other, and its median over all pairs with an order-statistic interval.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from figures import ROOT, Figure, write_figures
from trainer_held_out import measure_file
from trainer_models import NARROW, NARROW_FLUX, NARROW_XL, QUARTER, Shape, write_model
from trainer_pace import Captioned, Finished, Task
from trainer_statistics import Estimate, divide_pairs, estimate
from trainer_turns import Measured, SideName, open_sides, take_turns

from atelier_contract.dataset import ModelType

MODELS = ROOT / "build" / "trainer-bench"
PICTURES = ROOT / "playground" / "datasets" / "teapots"
HELD_OUT = ROOT / "playground" / "datasets" / "teapots-heldout"
HELD_OUT_PICTURES = 4
RUN_STEPS = 2_000
"""Of the run that the start-up is a share of."""
PAIRS = 9
RANK = 8
THREADS = 1
"""Of each side: what the trainer takes on the CPU."""
OPERATIONS = "operations"
"""The part that counts instead of timing."""
OURS = "ours"
COMPILED = "ours compiled"
PEER = "peer"
LOSS_MARGIN = 0.01
"""Two runs of the same method, batch and steps but other draws differ by less than this part of their loss."""
LEAST = {"lora_ratio": 2.0, "embedding_ratio": 1.5, "step_ratio": 0.95}
MOST = {
    "host_ratio": 0.7,
    "host_ratio_eager": 0.9,
    "operations_narrow_ratio": 0.8,
    "operations_narrow_xl_ratio": 0.8,
    "operations_narrow_flux_ratio": 0.8,
}


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
    compiles: bool = False
    """Whether ours is measured compiled as well."""


LORA = Comparison("lora", "ConceptModel", QUARTER, 128, 4, 1e-3, "lora example", 3)
EMBEDDING = Comparison("embedding", "Embedding", QUARTER, 128, 4, 5e-3, "inversion example", 3)
STEP = Comparison("step", "ConceptModel", QUARTER, 256, 4, 1e-3, "peft loop", 2)
HOST = Comparison("host", "ConceptModel", NARROW, 64, 1, 1e-3, "peft loop", 30, compiles=True)
COMPARISONS = (LORA, EMBEDDING, STEP, HOST)
PARTS = (*(comparison.name for comparison in COMPARISONS), OPERATIONS)


@dataclass(frozen=True)
class Result:
    """What one comparison found."""

    measured: dict[str, Measured]
    losses: dict[str, float]
    """Held-out, by side."""


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


def compare(comparison: Comparison, pairs: int) -> Result:
    """Measure all sides of a comparison in turns, and what each has learned after the same number of steps."""
    task = build_task(comparison)
    tasks: dict[str, tuple[SideName, Task]] = {OURS: ("ours", task), PEER: (comparison.peer, task)}
    if comparison.compiles:
        tasks[COMPILED] = ("ours", replace(task, compile_mode="compiled"))
    with open_sides(tasks) as sides:
        measured = take_turns(sides, pairs, comparison.steps)
        _check_threads(measured)
        finished = {key: side.finish() for key, side in sides.items()}
        _check_parameters(finished)
        held_out = read_captioned(HELD_OUT)[:HELD_OUT_PICTURES]
        losses = {key: measure_file(task, held_out, done.file) for key, done in finished.items()}
    return Result(measured, losses)


def _check_threads(measured: Mapping[str, Measured]) -> None:
    threads = {key: side.ready.threads for key, side in measured.items()}
    if len(set(threads.values())) != 1:
        raise RuntimeError(f"the sides computed with different numbers of threads: {threads}")


def _check_parameters(finished: Mapping[str, Finished]) -> None:
    trained = {key: done.trained_parameters for key, done in finished.items()}
    if len(set(trained.values())) != 1:
        raise RuntimeError(f"the sides trained different numbers of parameters: {trained}")


def spread_start(side: Measured) -> list[float]:
    """Return seconds a step by stretch, each with its share of the start-up in a run of 2,000 steps.

    The start-up is everything up to the last warm step but the steps themselves: loading, caching, compiling, and the
    first losses that ours measures.
    """
    begun = max(0.0, side.ready.seconds - side.ready.steps * estimate(side.seconds).median)
    return [seconds + begun / RUN_STEPS for seconds in side.seconds]


def describe_ratios(comparison: Comparison, result: Result) -> dict[str, Estimate]:
    """Return the ratios of a comparison by their figures' names."""
    seconds = {key: side.seconds for key, side in result.measured.items()}
    if comparison in (LORA, EMBEDDING):
        seconds = {key: spread_start(side) for key, side in result.measured.items()}
    if comparison is HOST:
        return {
            "host_ratio": estimate(divide_pairs(seconds[COMPILED], seconds[PEER])),
            "host_ratio_eager": estimate(divide_pairs(seconds[OURS], seconds[PEER])),
        }
    return {f"{comparison.name}_ratio": estimate(divide_pairs(seconds[PEER], seconds[OURS]))}


def count_family(shape: Shape) -> dict[str, int]:
    """Return the framework operations of one step of a family's real depth, by side."""
    task = build_task(replace(HOST, shape=shape))
    task = replace(task, pictures=task.pictures[:2], batch_size=2, warm_steps=2)
    with open_sides({OURS: ("ours", task), PEER: ("peft loop", task)}) as sides:
        counts = {key: sum(side.count().values()) for key, side in sides.items()}
        _check_parameters({key: side.finish() for key, side in sides.items()})
    return counts


def count_families() -> dict[str, Figure]:
    """Return the framework operations of a step of each family beside the peft loop's."""
    figures: dict[str, Figure] = {}
    for shape in (NARROW, NARROW_XL, NARROW_FLUX):
        counts = count_family(shape)
        name = f"operations_{shape.name.replace('-', '_')}"
        print(f"{name}: {counts[OURS]} beside {counts[PEER]}")
        figures |= {name: counts[OURS], f"{name}_peer": counts[PEER]}
        figures[f"{name}_ratio"] = round(counts[OURS] / counts[PEER], 3)
    return figures


def describe(comparison: Comparison, result: Result) -> dict[str, Figure]:
    """Return the figures of a comparison, and print its table."""
    figures: dict[str, Figure] = {}
    print(f"\n{comparison.name}: {comparison.shape.name}, {comparison.resolution_px} px, batch {comparison.batch_size}")
    print(f"{'side':<16}{'s a step':>10}{'cpu s':>8}{'images/s':>10}{'start s':>9}{'peak MiB':>10}{'held-out':>10}")
    for key, side in result.measured.items():
        seconds = estimate(side.seconds).median
        busy = estimate(side.processor_seconds).median
        name = f"{comparison.name}_{key.replace(' ', '_')}"
        figures |= {
            f"{name}_step_seconds": round(seconds, 4),
            f"{name}_step_processor_seconds": round(busy, 4),
            f"{name}_peak_mib": round(side.peak_mib),
            f"{name}_held_out_loss": round(result.losses[key], 5),
        }
        rate = comparison.batch_size / seconds
        loss = result.losses[key]
        times = f"{seconds:>10.3f}{busy:>8.3f}{rate:>10.2f}{side.ready.seconds:>9.1f}"
        print(f"{key:<16}{times}{side.peak_mib:>10.0f}{loss:>10.5f}")
    for name, ratio in describe_ratios(comparison, result).items():
        print(f"{name}: {ratio}")
        figures |= {
            name: round(ratio.median, 3),
            f"{name}_low": round(ratio.low, 3),
            f"{name}_high": round(ratio.high, 3),
        }
    return figures


def list_losses(comparison: Comparison, result: Result) -> list[str]:
    """Say where ours learned less or took more memory than the peer."""
    missed = []
    peer_loss, peer_peak = result.losses[PEER], result.measured[PEER].peak_mib
    for key, side in result.measured.items():
        if result.losses[key] > peer_loss * (1 + LOSS_MARGIN):
            missed.append(
                f"{comparison.name}: {key} reached a loss of {result.losses[key]:.5f}, the peer {peer_loss:.5f}"
            )
        if key == OURS and side.peak_mib > peer_peak:  # the compiled side holds its compiler too, as no peer does
            missed.append(f"{comparison.name}: {key} held {side.peak_mib:.0f} MiB, the peer {peer_peak:.0f}")
    return missed


def list_missed(figures: Mapping[str, Figure]) -> list[str]:
    """Say which figures are not as wanted; those that were not measured are not asked for."""
    low = [(name, least) for name, least in LEAST.items() if float(figures.get(name, least)) < least]
    high = [(name, most) for name, most in MOST.items() if float(figures.get(name, most)) > most]
    return [f"{name} is {figures[name]}, wanted at least {least}" for name, least in low] + [
        f"{name} is {figures[name]}, wanted at most {most}" for name, most in high
    ]


def main(pairs: int = PAIRS, only: str | None = None) -> None:
    """Measure, print, write `benchmarks/results/trainer-cpu.json`, and fail where a figure is not as wanted.

    Args:
        pairs: of each comparison; with fewer than nine nothing is written.
        only: name of the one part to measure, of which nothing is written either.
    """
    figures: dict[str, Figure] = {"pairs": pairs, "threads": THREADS, "rank": RANK, "load_before": read_load()}
    missed: list[str] = []
    begun = time.monotonic()
    for comparison in COMPARISONS:
        if only in (None, comparison.name):
            result = compare(comparison, pairs)
            figures |= describe(comparison, result)
            missed += list_losses(comparison, result)
    if only in (None, OPERATIONS):
        figures |= count_families()
    figures |= {"minutes": round((time.monotonic() - begun) / 60, 1), "load_after": read_load()}
    missed += list_missed(figures)
    print()
    if only is None and pairs >= PAIRS:
        write_figures("trainer-cpu", figures)
    if missed:
        raise SystemExit("; ".join(missed))


def read_load() -> float:
    """Return how many processes wanted a processor in the last minute."""
    return round(os.getloadavg()[0], 2)
