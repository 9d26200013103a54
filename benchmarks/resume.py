"""Whether a lost pod costs anything but time: trainers killed at seeded points, in every phase and every family.

Each trial is two real processes on a store of its own: one that SIGKILL ends at a drawn point (any visit of the phase,
any share of its length) and one that ends the run. What is compared are the digests of every checkpoint's model file
with those of an undisturbed run. A trial counts for the phase that the process was in when it died, whatever was aimed
at. SIGTERM while pictures are drawn and while files are stored follows, and two attempts that compute otherwise: with
other threads at hand, and with memory for one picture at a time.

Prints every point, and writes `benchmarks/results/resume.json`. About ten minutes beside other work.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from figures import ROOT, Figure, write_figures

sys.path.insert(0, str(ROOT / "tests" / "support"))

from atelier_contract.architectures import Architecture
from atelier_contract.exit_codes import ExitCode
from resuming import KILLED_PHASES, STEPS, Ended, Stage, build_stage, open_nursery

COUNTS = {Architecture.STABLE_DIFFUSION_1: 20, Architecture.STABLE_DIFFUSION_XL: 3, Architecture.FLUX_1: 3}
"""Kills in each phase."""
MOST_MISSES = 8
"""Trials for each wanted one before it is given up to hit a phase that is over too soon."""


def main() -> int:
    """Run all trials; return 1 where one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn points")
    parser.add_argument("--count", type=int, help="kills in each phase of Stable Diffusion 1 (default: 20)")
    asked = parser.parse_args()
    counts = COUNTS | ({Architecture.STABLE_DIFFUSION_1: asked.count} if asked.count else {})
    figures: dict[str, Figure] = {"seed": asked.seed, "steps": STEPS}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="atelier-resume-") as folder, open_nursery() as nursery:
        for architecture, count in counts.items():
            stage = build_stage(Path(folder) / architecture.value, nursery, architecture)
            stage.run_uninterrupted()
            figures |= {f"{architecture.value}_{name}": value for name, value in run_trials(stage, count, asked.seed)}
    figures["seconds"] = round(time.monotonic() - begun, 1)
    write_figures("resume", figures)
    missed = list_missed(figures, counts)
    if missed:
        print("; ".join(missed), file=sys.stderr)
    return int(bool(missed))


def list_missed(figures: Mapping[str, Figure], counts: Mapping[Architecture, int]) -> list[str]:
    """Say what is not as it should be: kills that did not land, weights that differ, a change that was not told.

    Args:
        figures: of all families.
        counts: kills wanted in each phase, by family.
    """
    missed = []
    for family, count in counts.items():
        for phase in KILLED_PHASES:
            name = f"{family.value}_killed_while_{phase.lower()}"
            if int(figures[name]) < count:
                missed.append(f"{name} is {figures[name]}, wanted at least {count}")
        wanted: dict[str, Figure] = {"differing": 0, "another_micro_batch_exact": "false"}
        for name, value in ((f"{family.value}_{word}", value) for word, value in wanted.items()):
            if figures[name] != value:
                missed.append(f"{name} is {figures[name]}, wanted {value}")
    return missed


def run_trials(stage: Stage, count: int, seed: int) -> list[tuple[str, Figure]]:
    """Run one family's trials and return its figures."""
    landed: Counter[str] = Counter()
    differing = 0
    for phase in KILLED_PHASES:
        for point in stage.choose_points(phase, count * MOST_MISSES, seed):
            if landed[phase] >= count:
                break
            ended = stage.kill(point)
            if ended is None:  # over before the signal came
                continue
            landed[ended.phase] += 1
            is_same = judge(stage, ended, killed=True)
            differing += not is_same
            print(
                f"{stage.asked.base_model.architecture} seed {seed} {phase} entry {point.visit.entry} "
                f"share {point.share:.3f}: died in {ended.phase}, went on from step {ended.from_step}, "
                f"{'equal' if is_same else 'DIFFERS'}",
                flush=True,
            )
    figures: list[tuple[str, Figure]] = [(f"killed_while_{phase.lower()}", landed[phase]) for phase in KILLED_PHASES]
    for place in ("sampling", "saving"):
        is_same = judge(stage, stage.terminate(place), killed=False)
        differing += not is_same
        figures.append((f"terminated_while_{place}", "equal" if is_same else "differs"))
    threads = stage.disturb(environment={"OMP_NUM_THREADS": "3"})
    is_same = threads.exact and threads.digests == stage.reference
    differing += not is_same
    figures.append(("other_threads", "equal" if is_same else "differs"))
    short = stage.disturb(is_short_of_memory=True)
    figures.append(("another_micro_batch_exact", str(short.exact).lower()))
    return [*figures, ("trials", landed.total() + 4), ("differing", differing)]


def judge(stage: Stage, ended: Ended, *, killed: bool) -> bool:
    """Return whether a trial ended as it should, with every checkpoint the same."""
    first = -9 if killed else int(ExitCode.INTERRUPTED)
    return ended.codes == [first, ExitCode.DONE] and ended.exact and ended.digests == stage.reference


if __name__ == "__main__":
    sys.exit(main())
