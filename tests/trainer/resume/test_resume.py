"""Real trainer processes that die: the next one ends where an undisturbed run would have, to the last bit.

A few seeded points of each phase; `benchmarks/resume.py` runs twenty of each. Another seed may be given by
ATELIER_RESUME_SEED, and is printed with every point.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from atelier_contract.architectures import Architecture
from atelier_contract.exit_codes import ExitCode
from resuming import KILLED_PHASES, Nursery, Stage, build_stage, open_nursery

SEED = int(os.environ.get("ATELIER_RESUME_SEED", "1"))


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """A process that starts trainers at once."""
    with open_nursery() as opened:
        yield opened


@pytest.fixture(scope="module")
def stages(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Stage]:
    """A store for each family, and what an undisturbed run makes of it."""
    found = {name: build_stage(tmp_path_factory.mktemp(name.value), nursery, name) for name in Architecture}
    for stage in found.values():
        stage.run_uninterrupted()
    return found


@pytest.fixture(scope="module")
def stage(stages: dict[Architecture, Stage]) -> Stage:
    """The store of Stable Diffusion 1."""
    return stages[Architecture.STABLE_DIFFUSION_1]


@pytest.mark.parametrize("phase", KILLED_PHASES)
def test_killed_in_a_phase(stage: Stage, phase: str) -> None:
    """SIGKILL at a random point of a phase costs nothing but time: every checkpoint has the bytes it would have had."""
    ended = stage.kill_once(stage.choose_points(phase, 5, SEED))
    print(f"seed {SEED}: {ended.point}, died in {ended.phase}")
    assert (ended.codes, ended.exact) == ([-9, ExitCode.DONE], True)
    assert ended.digests == stage.reference


@pytest.mark.parametrize("architecture", [Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1])
def test_killed_in_other_families(stages: dict[Architecture, Stage], architecture: Architecture) -> None:
    """The same holds for families with several encoders, in whose memory more is lost."""
    stage = stages[architecture]
    ended = stage.kill_once(stage.choose_points("Training", 5, SEED))
    assert (ended.codes, ended.exact) == ([-9, ExitCode.DONE], True)
    assert ended.digests == stage.reference


@pytest.mark.parametrize("place", ["sampling", "saving"])
def test_terminated_in_the_midst(stage: Stage, place: str) -> None:
    """SIGTERM while pictures are drawn or files are stored ends with 30 and a state, and the next one is exact."""
    ended = stage.terminate(place)
    assert (ended.codes, ended.exact) == ([ExitCode.INTERRUPTED, ExitCode.DONE], True)
    assert ended.from_step > 0
    assert ended.digests == stage.reference


def test_other_threads_are_not_taken(stage: Stage) -> None:
    """A pod with other threads at hand computes with those of the first attempt, and so to the same bits."""
    ended = stage.disturb(environment={"OMP_NUM_THREADS": "3"})
    assert ended.exact
    assert ended.digests == stage.reference


def test_another_micro_batch_is_said(stage: Stage) -> None:
    """Where memory takes fewer pictures at once than at first, the run goes on to its end and says it is not exact."""
    ended = stage.disturb(is_short_of_memory=True)
    assert (ended.codes[-1], ended.exact) == (ExitCode.DONE, False)
    assert ended.digests.keys() == stage.reference.keys()
    assert ended.digests != stage.reference
