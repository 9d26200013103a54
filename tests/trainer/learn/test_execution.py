"""How an attempt computes: by rule the first time, as the first one did afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from atelier_trainer.learn import execution
from atelier_trainer.learn.compilation import Compilation
from atelier_trainer.learn.execution import can_compute, plan_execution
from atelier_trainer.learn.roof import count_operations, measure_roof
from learning import build_settings

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a switch for whether there is a compiler."""
    return lambda there: monkeypatch.setattr(execution, "has_compiler", lambda: there)


@pytest.mark.parametrize(
    ("steps", "there", "mode"), [(19_999, True, "eager"), (20_000, True, "compiled"), (20_000, False, "eager")]
)
def test_the_cpu_compiles_long_runs(compiler: Callable[[bool], None], steps: int, there: bool, mode: str) -> None:
    """On the CPU compiling takes minutes: it is done from 20,000 steps on, where there is a compiler."""
    compiler(there)
    assert plan_execution(CPU, build_settings(steps=steps), None, resumes=False).manifest.compile_mode == mode


@pytest.mark.parametrize("mode", ["compiled", "eager"])
def test_the_first_attempts_mode_is_obeyed(compiler: Callable[[bool], None], mode: str) -> None:
    """A later attempt computes as the first did, whatever it would choose, and is exact."""
    compiler(True)
    chosen = plan_execution(CPU, build_settings(), None, resumes=False).manifest
    first = chosen.model_copy(update={"compile_mode": mode, "recomputes": True, "micro_batch": 3})
    planned = plan_execution(CPU, build_settings(), first, resumes=True)
    assert (planned.manifest, planned.differences) == (first, ())


def test_a_mode_that_cannot_be_obeyed_is_told(compiler: Callable[[bool], None]) -> None:
    """A run that was compiled goes on without a compiler, and says that it is not exact."""
    compiler(False)
    chosen = plan_execution(CPU, build_settings(), None, resumes=False).manifest
    first = chosen.model_copy(update={"compile_mode": "compiled"})
    planned = plan_execution(CPU, build_settings(), first, resumes=True)
    assert planned.manifest.compile_mode == "eager"
    assert planned.differences == ("not exact: compile mode was compiled, now it is eager",)


def test_only_a_gpu_captures(compiler: Callable[[bool], None]) -> None:
    """Captured steps need a GPU; compiled ones a compiler; both together both."""
    compiler(True)
    modes = ("eager", "compiled", "captured", "captured compiled")
    assert [can_compute(CPU, mode) for mode in modes] == [True, True, False, False]
    assert all(can_compute(GPU, mode) for mode in modes)
    compiler(False)
    assert [can_compute(GPU, mode) for mode in modes] == [True, False, True, False]


@pytest.mark.parametrize(("asked", "used"), [(None, 4), (2, 2), (16, 4)])
def test_the_micro_batch_is_as_asked(asked: int | None, used: int) -> None:
    """`microBatchSize` is obeyed, up to the batch; accumulation follows from it."""
    changes = {} if asked is None else {"microBatchSize": asked}
    manifest = plan_execution(CPU, build_settings(**changes), None, resumes=False).manifest
    assert (manifest.micro_batch, manifest.accumulation) == (used, 4 // used)


def test_compiled_code_is_in_place_for_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the block the denoiser runs what the compiler made; outside it its own code."""

    def compile_loudly(forward: Callable[..., Any], **_: object) -> Callable[..., Any]:
        return lambda *given: forward(*given) + 1

    monkeypatch.setattr(torch, "compile", compile_loudly)
    layer, one = nn.Identity(), torch.ones(())
    compilation = Compilation(layer, CPU)
    with compilation.in_place():
        assert layer(one) == 2
    assert layer(one) == 1
    assert "forward" not in vars(layer)


def test_every_product_is_counted() -> None:
    """Products that make a tensor and products added in place count alike: 2 M K N."""
    left, right, into = torch.ones(2, 3), torch.ones(3, 5), torch.ones(2, 5)
    assert count_operations(lambda: left.mm(right)) == 60
    assert count_operations(lambda: into.addmm_(left, right)) == 60


def test_the_roof_is_a_products_operations_over_its_time() -> None:
    """With a clock that ticks half a second a look, a product of side 512 is 2 · 512³ operations in half a second."""
    ticks = iter(range(100))
    assert measure_roof(CPU, torch.float32, lambda: next(ticks) / 2) == 2 * 512**3 / 0.5
