"""The trainer beside what people use today, on the CPU: four comparisons in one run of at most 20 minutes.

`lora` and `embedding` are training as users run it: the public examples encode pictures and prompts in every step, ours
once, and the start-up of both (loading, caching, the first losses) is counted at its share of a 2,000-step run. `step`
is the step alone where arithmetic rules, `host` where the host's own work does. Every figure is a ratio within pairs
that were measured right after each other, and its median over all pairs with an order-statistic interval. What the
sides have learned is compared over several seeds, of which the timed runs are one; whatever has no clock is done side
by side while the compiled side compiles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from figures import Figure, write_figures
from trainer_comparisons import (
    COMPARISONS,
    EMBEDDING,
    HOST,
    LORA,
    RANK,
    THREADS,
    Comparison,
    build_seeds,
    build_task,
    read_held_out,
)
from trainer_held_out import measure_file
from trainer_losses import LOSS_MARGIN, Judged, learn
from trainer_models import NARROW, NARROW_FLUX, NARROW_XL, Shape
from trainer_pace import Finished, Task
from trainer_statistics import Estimate, divide_pairs, estimate
from trainer_turns import Measured, SideName, open_sides, take_turns

RUN_STEPS = 2_000
"""Of the run that the start-up is a share of."""
PAIRS = 9
OPERATIONS = "operations"
"""The part that counts instead of timing."""
OURS = "ours"
COMPILED = "ours compiled"
PEER = "peer"
WORKERS = 2
"""Pieces of work without a clock that are done at once."""
LOSSES_UNTIL_SECONDS = 13 * 60.0
"""After the beginning no further seed is begun, so that all is over after 20 minutes on slower processors too."""
LEAST = {"lora_ratio": 2.0, "embedding_ratio": 1.5, "step_ratio": 0.95}
MOST = {
    "host_ratio": 0.7,
    "host_ratio_eager": 0.9,
    "operations_narrow_ratio": 0.8,
    "operations_narrow_xl_ratio": 0.8,
    "operations_narrow_flux_ratio": 0.8,
    "minutes": 20.0,
}
PARTS = (*(comparison.name for comparison in COMPARISONS), OPERATIONS)


@dataclass(frozen=True)
class Result:
    """What one comparison found."""

    measured: dict[str, Measured]
    losses: dict[str, float]
    """Held-out, by side."""


@dataclass(frozen=True)
class Learned:
    """Losses of both sides with the seeds that are not timed, still being found."""

    ours: Future[list[float]]
    peer: Future[list[float]]

    @classmethod
    def begin(cls, pool: ThreadPoolExecutor, comparison: Comparison, pairs: int, until_seconds: float) -> Learned:
        """Let both sides train with those seeds; the peer, which takes longer, first."""
        seeds, held_out = build_seeds(comparison, pairs), read_held_out()
        peer = pool.submit(learn, comparison.peer, seeds, held_out, until_seconds)
        return cls(pool.submit(learn, "ours", seeds, held_out, until_seconds), peer)

    def judge(self, comparison: Comparison, timed: Result) -> Judged:
        """Return the losses by seed, the timed run's first."""
        ours, peer = ([timed.losses[OURS]], self.ours.result()), ([timed.losses[PEER]], self.peer.result())
        return Judged(comparison.name, ours[0] + ours[1], peer[0] + peer[1])


def compare(comparison: Comparison, pairs: int, meanwhile: Callable[[], None] | None = None) -> Result:
    """Measure all sides of a comparison in turns, and what each has learned after the same number of steps.

    Args:
        comparison: what is compared.
        pairs: turns.
        meanwhile: work to do while the sides start, where their start is no figure.
    """
    task = build_task(comparison)
    tasks: dict[str, tuple[SideName, Task]] = {OURS: ("ours", task), PEER: (comparison.peer, task)}
    if comparison.compiles:
        tasks[COMPILED] = ("ours", replace(task, compile_mode="compiled"))
    with open_sides(tasks, meanwhile) as sides:
        measured = take_turns(sides, pairs, comparison.steps)
        _check_threads(measured)
        finished = {key: side.finish() for key, side in sides.items()}
        _check_parameters(finished)
        losses = {key: measure_file(task, read_held_out(), done.file) for key, done in finished.items()}
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
    """Return the timed figures of a comparison, and print its table."""
    figures: dict[str, Figure] = {}
    print(f"\n{comparison.name}: {comparison.shape.name}, {comparison.resolution_px} px, batch {comparison.batch_size}")
    print(f"{'side':<16}{'s a step':>10}{'cpu s':>8}{'images/s':>10}{'start s':>9}{'peak MiB':>10}{'held-out':>10}")
    for key, side in result.measured.items():
        seconds = estimate(side.seconds).median
        busy = estimate(side.processor_seconds).median
        name = name_side(comparison, key)
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
        figures |= describe_estimate(name, ratio)
    return figures


def describe_losses(judged: Judged) -> dict[str, Figure]:
    """Return the figures of a comparison's losses over its seeds, and print their sentence."""
    print(judged)
    name = f"{judged.name}_loss_ratio"
    figures = describe_estimate(name, judged.ratio, digits=4)
    return figures | {f"{name}_pairs": " ".join(f"{ratio:.4f}" for ratio in judged.ratios)}


def describe_estimate(name: str, found: Estimate, digits: int = 3) -> dict[str, Figure]:
    """Return a median and its interval as figures."""
    return {
        name: round(found.median, digits),
        f"{name}_low": round(found.low, digits),
        f"{name}_high": round(found.high, digits),
    }


def name_side(comparison: Comparison, key: str) -> str:
    """Return how a side's figures begin."""
    return f"{comparison.name}_{key.replace(' ', '_')}"


def list_worse(result: Result, judged: Judged) -> list[str]:
    """Say where ours learned less or took more memory than the peer, or learned other things when compiled."""
    missed = [f"{judged}, wanted at most {1 + LOSS_MARGIN}"] if judged.is_worse else []
    ours, compiled = result.losses[OURS], result.losses.get(COMPILED, result.losses[OURS])
    if abs(compiled / ours - 1) > LOSS_MARGIN:
        missed.append(f"{judged.name}: ours reached a loss of {ours:.5f}, of the same draws {compiled:.5f} compiled")
    peak, peer_peak = result.measured[OURS].peak_mib, result.measured[PEER].peak_mib
    if peak > peer_peak:  # the compiled side is not asked: it holds its compiler too, as no peer does
        missed.append(f"{judged.name}: ours held {peak:.0f} MiB, the peer {peer_peak:.0f}")
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
    chosen = [comparison for comparison in COMPARISONS if only in (None, comparison.name)]
    results = {comparison.name: compare(comparison, pairs) for comparison in chosen if comparison is not HOST}
    with ThreadPoolExecutor(WORKERS) as pool:
        until_seconds = begun + LOSSES_UNTIL_SECONDS
        # The last first: it alone has more than one further seed, of which the clock may leave some out.
        learned = {one.name: Learned.begin(pool, one, pairs, until_seconds) for one in reversed(chosen)}
        counted = pool.submit(count_families) if only in (None, OPERATIONS) else None
        if HOST in chosen:
            results[HOST.name] = compare(HOST, pairs, lambda: pool.shutdown(wait=True))
    for comparison in chosen:
        result = results[comparison.name]
        judged = learned[comparison.name].judge(comparison, result)
        figures |= describe(comparison, result) | describe_losses(judged)
        missed += list_worse(result, judged)
        if pairs >= PAIRS and len(judged.ratios) < comparison.fewest_loss_pairs:
            missed.append(f"{judged}, wanted at least {comparison.fewest_loss_pairs} seeds")
    figures |= counted.result() if counted else {}
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
