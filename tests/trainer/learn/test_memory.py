"""How many pictures a pass takes follows from what one and two need, and trying them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from atelier_contract.tuning import Optimizer
from atelier_materials.footprint import count_mean_bytes, count_moment_bytes
from atelier_trainer.learn import engine
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.ema import RunningMean
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.memory import Fit, fit_passes, recompute_activations
from atelier_trainer.learn.methods.base import RateGroup
from atelier_trainer.learn.optimizer import build_optimizer, split_state
from atelier_trainer.learn.parameters import FlatParameters
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.stepping import Stepper
from drawn_batches import draw_batch
from learning import build_settings
from learning_results import build_on, load_family

MIB = 2**20


@dataclass
class Device:
    """A device on which a pass needs a base and so much a picture."""

    free_mib: float
    base_mib: float = 100
    picture_mib: float = 50
    recomputed_mib: float = 10
    tried: list[int] = field(default_factory=list)
    recomputes: bool = False

    def free_bytes(self) -> int:
        return int(self.free_mib * MIB)

    def peak_bytes(self, work: Callable[[], None]) -> int:
        work()
        need = self.base_mib + self.tried[-1] * (self.recomputed_mib if self.recomputes else self.picture_mib)
        if need > self.free_mib:
            raise torch.OutOfMemoryError("as CUDA says it")
        return int(need * MIB)

    def recompute(self) -> None:
        self.recomputes = True

    def fit(self, most: int = 16, to_come_bytes: int = 0, *, is_said: bool = False) -> Fit:
        return fit_passes(self, self.tried.append, self.recompute, most, to_come_bytes, is_said=is_said)


@pytest.mark.parametrize(
    ("free_mib", "micro_batch"),
    [
        pytest.param(10_000, 16, id="all of them"),
        pytest.param(400, 5, id="five: 350 of 360"),
        pytest.param(170, 1, id="one: 150 of 153"),
    ],
)
def test_as_many_pictures_as_fit(free_mib: float, micro_batch: int) -> None:
    """A tenth of the free memory is left; the first picture brings the base's share, each further one its own."""
    assert Device(free_mib).fit() == Fit(micro_batch, recomputes=False)


def test_the_moments_to_come_have_their_place() -> None:
    """What the optimiser will allocate in the first step is not a picture's: 20 MiB of it leave room for one less."""
    assert Device(400).fit(to_come_bytes=20 * MIB).micro_batch == 4


@pytest.mark.parametrize("decay", [0, 0.99])
@pytest.mark.parametrize("optimizer", ["AdamW", "Prodigy"])
def test_what_an_optimiser_keeps_is_counted(optimizer: Optimizer, decay: float) -> None:
    """After a step optimiser and mean hold what was counted for each trained number, and a few scalars."""
    settings = build_settings(optimizer=optimizer, emaDecay=decay, learningRate=1.0)
    flat = FlatParameters({"a": torch.Size((100, 100))}, torch.device("cpu"))
    flat.master.grad = torch.ones_like(flat.master)
    built = build_optimizer([RateGroup([flat.master], 1.0)], settings)
    built.step()
    moments = sum(tensor.nbytes for tensor in split_state(built)[0].values())
    mean = sum(tensor.nbytes for tensor in RunningMean([flat], settings.ema_decay).split().values())
    assert 0 <= moments - count_moment_bytes(settings, flat.master.numel()) < 100
    assert mean == count_mean_bytes(settings, flat.master.numel())


def test_moments_of_8_bits_are_counted() -> None:
    """Two codes a number and two scales a block are kept, beside two tables of values."""
    parameter = torch.nn.Parameter(torch.zeros(256 * 100))
    parameter.grad = torch.ones_like(parameter)
    built = pytest.importorskip("bitsandbytes").optim.AdamW8bit([parameter])
    built.step()
    tables = 2 * 256 * 4
    kept = sum(value.nbytes for value in built.state[parameter].values() if isinstance(value, torch.Tensor))
    assert kept - tables == count_moment_bytes(build_settings(optimizer="AdamW8bit"), parameter.numel())


def test_activations_are_recomputed_only_where_one_picture_does_not_fit() -> None:
    """Recomputing is the last resort: with it the pass that did not fit does."""
    assert Device(149).fit() == Fit(3, recomputes=True)


@pytest.mark.parametrize(
    ("free_mib", "to_come_mib"),
    [pytest.param(160, 0, id="150 of 144"), pytest.param(400, 220, id="150 of 140, beside the moments")],
)
def test_one_picture_has_to_leave_what_all_leave(free_mib: float, to_come_mib: int) -> None:
    """A picture that fits only without the margin, or without the moments to come, does not: steps would run out."""
    assert Device(free_mib).fit(to_come_bytes=to_come_mib * MIB).recomputes


@pytest.mark.parametrize(("free_mib", "recomputes"), [(149, True), (170, False)])
def test_how_many_were_said_is_not_counted(free_mib: float, recomputes: bool) -> None:
    """Where the number of pictures is given, one is tried, for whether activations have to be recomputed."""
    device = Device(free_mib)
    assert device.fit(most=4, is_said=True) == Fit(4, recomputes)
    assert set(device.tried) == {1}


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_attempt_that_goes_on_has_its_moments(monkeypatch: pytest.MonkeyPatch, goes_on: bool) -> None:
    """Moments that came with a state are no longer to come: what is free is free of them."""
    gradients = build_gradients()
    on_gpu = replace(gradients, family=SimpleNamespace(device=torch.device("cuda")))
    optimizer = build_optimizer(gradients.method.rate_groups(), gradients.settings)
    if goes_on:
        optimizer.step()
    told: list[int] = []

    def note(*given: Any, is_said: bool) -> Fit:
        told.append(given[-1])
        return Fit(4, recomputes=False)

    monkeypatch.setattr(engine, "fit_passes", note)
    engine.fit_to_device(Stepper(on_gpu, optimizer, 1.0), draw_batch(0), 0, is_said=False)
    assert [to_come == 0 for to_come in told] == [goes_on]


def test_a_picture_that_never_fits_is_told() -> None:
    """Where not even recomputing helps, the shortage goes up to whoever explains it."""
    with pytest.raises(torch.OutOfMemoryError):
        Device(109).fit()


def test_a_batch_of_one_is_tried_once() -> None:
    """Nothing is to be learned from two where there is one."""
    device = Device(10_000)
    assert device.fit(most=1).micro_batch == 1
    assert device.tried == [1]


def build_gradients() -> GradientComputer:
    """Return a gradient computer on the tiny base with trained adapters, so that no gradient is zero."""
    family, settings = load_family(), build_settings(conceptModel={"targets": "attentionMlpConv"})
    method = build_on(family, settings)
    torch.manual_seed(0)
    for flat in method.flat_parameters():
        for name, view in flat.views.items():
            if name.endswith(".up"):
                view.normal_(std=0.01)
        flat.refresh()
    return GradientComputer(family, method, PromptEncoder(family, method), settings, Draws(7), micro_batch=4)


def test_rehearsing_leaves_no_gradient() -> None:
    """A pass that is only tried leaves gradients and weights as they were."""
    gradients = build_gradients()
    (flat,) = gradients.method.flat_parameters()
    before = flat.master.detach().clone()
    gradients.rehearse(draw_batch(0), 0)
    assert not flat.gradient.any()
    assert torch.equal(flat.master, before)


def test_recomputed_activations_give_the_same_gradients() -> None:
    """Computing activations twice changes no bit of a gradient, and no gradient is added twice."""
    kept, recomputed = build_gradients(), build_gradients()
    recompute_activations(recomputed.family.denoiser)
    assert torch.equal(kept.compute(draw_batch(0), 0), recomputed.compute(draw_batch(0), 0))
    for one, other in zip(kept.method.flat_parameters(), recomputed.method.flat_parameters(), strict=True):
        assert one.gradient.abs().max() > 0
        assert torch.equal(one.gradient, other.gradient)
