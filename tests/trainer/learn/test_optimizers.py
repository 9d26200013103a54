"""Optimisers: what each remembers comes back bit for bit, what has ended its course stands still."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from prodigyopt import Prodigy as ReferenceProdigy
from safetensors.torch import load_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.methods.base import RateGroup
from atelier_trainer.learn.optimizer import (
    build_optimizer,
    check_optimizer,
    clip_gradients,
    is_capturable,
    join_state,
    set_rate,
    split_state,
    take_step,
)
from atelier_trainer.learn.tensor_files import write_tensors
from learning import build_settings

SIZE = 64


def build_masters() -> list[nn.Parameter]:
    """Return two flat masters with a gradient each, the second one all zero as a fresh `up` is."""
    generator = torch.Generator().manual_seed(0)
    masters = [nn.Parameter(torch.randn(SIZE, generator=generator)), nn.Parameter(torch.zeros(SIZE))]
    for master in masters:
        master.grad = torch.zeros(SIZE)
    return masters


def fill_gradients(masters: list[nn.Parameter], step: int) -> None:
    """Give the masters the gradients of a step: a pull towards 1 with noise that the step alone decides."""
    for index, master in enumerate(masters):
        noise = 0.1 * torch.randn(SIZE, generator=torch.Generator().manual_seed(100 * step + index))
        assert master.grad is not None
        master.grad.copy_(master.detach() - 1 + noise)


class Bench:
    """An optimiser over two masters, and steps of it."""

    def __init__(self, optimizer: str, *, until_step: int | None = None, rate: float = 1e-2, **changes: Any) -> None:
        rate = 1.0 if optimizer == "Prodigy" else rate
        self.settings = build_settings(optimizer=optimizer, learningRate=rate, **changes)
        self.masters = build_masters()
        groups = [RateGroup([self.masters[0]], rate, until_step), RateGroup([self.masters[1]], rate)]
        self.optimizer = build_optimizer(groups, self.settings)

    def run(self, first: int, last: int) -> None:
        """Take the steps from `first` up to, not with, `last`."""
        for step in range(first, last):
            fill_gradients(self.masters, step)
            set_rate(self.optimizer, 1 - step / 200, step)
            clip_gradients(self.optimizer, 1.0)
            take_step(self.optimizer)

    def remember(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return the state as it comes back from a store."""
        tensors, plain = split_state(self.optimizer)
        return tensors, json.loads(json.dumps(plain))


@pytest.fixture(params=["AdamW", "Prodigy"])
def build(request: pytest.FixtureRequest) -> Callable[..., Bench]:
    """Build a bench with each optimiser that runs everywhere."""
    return lambda **changes: Bench(request.param, **changes)


def test_going_on_from_a_state_is_exact(build: Callable[..., Bench]) -> None:
    """Six steps, and three with a state between them and three more, give the same bits: weights and memory."""
    whole, first, second = build(), build(), build()
    whole.run(0, 6)
    first.run(0, 3)
    tensors, plain = first.remember()
    with torch.no_grad():
        for master, earlier in zip(second.masters, first.masters, strict=True):
            master.copy_(earlier)
    join_state(second.optimizer, tensors, plain)
    second.run(3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole.masters, second.masters, strict=True))
    ours, theirs = whole.remember(), second.remember()
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0] | theirs[0])
    assert ours[1] == theirs[1]


def test_a_state_without_one_entry_is_another_run(build: Callable[..., Bench]) -> None:
    """Every entry of the memory matters: setting any of them to zero changes the weights that follow."""
    first, whole = build(), build()
    first.run(0, 3)
    whole.run(0, 12)
    tensors, plain = first.remember()
    for name in tensors:
        other = build()
        with torch.no_grad():
            for master, earlier in zip(other.masters, first.masters, strict=True):
                master.copy_(earlier)
        join_state(other.optimizer, tensors | {name: torch.zeros_like(tensors[name])}, plain)
        unchanged = not tensors[name].any()
        other.run(3, 12)
        same = all(torch.equal(a, b) for a, b in zip(whole.masters, other.masters, strict=True))
        assert same == unchanged, name


def test_what_has_ended_its_course_stands_still(build: Callable[..., Bench]) -> None:
    """After its last step a group's weights and memory are the same bits, with decay and gradients or without."""
    bench = build(until_step=3, weightDecay=0.1)
    bench.run(0, 3)
    still, moving = bench.masters[0].detach().clone(), bench.masters[1].detach().clone()
    memory = {name: tensor for name, tensor in bench.remember()[0].items() if is_own(name)}
    bench.run(3, 6)
    assert torch.equal(bench.masters[0], still)
    assert not torch.equal(bench.masters[1], moving)
    after = bench.remember()[0]
    assert all(torch.equal(after[name], tensor) for name, tensor in memory.items())


def is_own(name: str) -> bool:
    """Return whether an entry is the first master's own: Prodigy keeps what all groups share with it."""
    return name.startswith("0.") and name.removeprefix("0.") not in {"distance", "k"}


def test_a_group_that_has_ended_does_not_weigh_on_the_others(build: Callable[..., Bench]) -> None:
    """Clipping measures what learns alone: a huge gradient of a retired group leaves the others' as they are."""
    bench = build(until_step=0)
    fill_gradients(bench.masters, 0)
    gradients = [master.grad for master in bench.masters]
    assert gradients[0] is not None
    assert gradients[1] is not None
    gradients[0].mul_(1e6)
    gradients[1].mul_(0.5 / gradients[1].norm())
    set_rate(bench.optimizer, 1.0, 0)
    clip_gradients(bench.optimizer, 1.0)
    assert gradients[1].norm().item() == pytest.approx(0.5)


def test_words_do_not_decay() -> None:
    """A group that does not decay keeps its length under a zero gradient; another shrinks."""
    masters = [nn.Parameter(torch.ones(SIZE)), nn.Parameter(torch.ones(SIZE))]
    for master in masters:
        master.grad = torch.zeros(SIZE)
    groups = [RateGroup([masters[0]], 0.1, decays=False), RateGroup([masters[1]], 0.1)]
    optimizer = build_optimizer(groups, build_settings(weightDecay=0.5))
    set_rate(optimizer, 1.0, 0)
    take_step(optimizer)
    assert torch.equal(masters[0], torch.ones(SIZE))
    assert masters[1].max() < 1


def test_the_rate_is_the_groups_own_times_the_factor() -> None:
    """Each group follows the schedule from its own rate."""
    masters = build_masters()
    groups = [RateGroup([masters[0]], 0.1), RateGroup([masters[1]], 0.01)]
    optimizer = build_optimizer(groups, build_settings())
    set_rate(optimizer, 0.5, 0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.005]


def test_a_rate_on_the_device_keeps_its_place() -> None:
    """A rate that is a tensor is filled where it lies, which is where a captured step reads it."""
    bench = Bench("AdamW")
    group = bench.optimizer.param_groups[0]
    group["lr"] = place = torch.tensor(0.0)
    set_rate(bench.optimizer, 0.5, 0)
    assert group["lr"] is place
    assert place.item() == pytest.approx(0.005)
    tensors, plain = bench.remember()
    set_rate(bench.optimizer, 1.0, 0)
    join_state(bench.optimizer, tensors, plain)
    assert group["lr"] is place
    assert place.item() == pytest.approx(0.005)


def test_what_follows_a_rate_of_the_host_is_not_captured() -> None:
    """A captured step would go on with the rate of the step that was captured."""
    assert not is_capturable(Bench("AdamW").optimizer)


def test_moments_of_8_bits_take_their_rate_from_the_host() -> None:
    """On a GPU too: their library would wait for a rate on the device in every step."""
    pytest.importorskip("bitsandbytes")
    with FakeTensorMode():  # a GPU's tensor without its numbers, so that none is needed
        parameter = nn.Parameter(torch.empty(SIZE, device="cuda"))
    optimizer = build_optimizer([RateGroup([parameter], 0.1)], build_settings(optimizer="AdamW8bit"))
    set_rate(optimizer, 0.5, 0)
    rate = optimizer.param_groups[0]["lr"]
    assert (type(rate), rate) == (float, 0.05)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_prodigy_is_its_authors(weight_decay: float) -> None:
    """Over forty steps with a falling rate our weights and distance are those of the authors' package."""
    ours = Bench("Prodigy", weightDecay=weight_decay)
    masters = build_masters()
    theirs = ReferenceProdigy(
        masters, lr=1.0, betas=(0.9, 0.99), weight_decay=weight_decay, use_bias_correction=True, safeguard_warmup=True
    )
    ours.run(0, 40)
    for step in range(40):
        fill_gradients(masters, step)
        theirs.param_groups[0]["lr"] = 1 - step / 200
        nn.utils.clip_grad_norm_(masters, 1.0)
        theirs.step()
    for mine, other in zip(ours.masters, masters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    found = ours.optimizer.state[ours.masters[0]]["distance"].item()
    assert found > 1e-4
    assert found == pytest.approx(theirs.param_groups[0]["d"], rel=1e-4)


def test_a_group_that_has_ended_does_not_lengthen_the_distance() -> None:
    """When the group with by far the larger gradients ends, the distance goes on from what was found so far."""
    masters = [nn.Parameter(torch.zeros(SIZE)), nn.Parameter(torch.zeros(SIZE))]
    groups = [RateGroup([masters[0]], 1.0), RateGroup([masters[1]], 1.0, until_step=20)]
    optimizer = build_optimizer(groups, build_settings(optimizer="Prodigy", learningRate=1.0))
    found = []
    for step in range(21):
        masters[0].grad = 1e-3 * (masters[0].detach() - 1)
        masters[1].grad = masters[1].detach() - 1
        set_rate(optimizer, 1.0, step)
        take_step(optimizer)
        found.append(optimizer.state[masters[0]]["distance"].item())
    assert found[20] < 2 * found[19]


def test_prodigy_refuses_several_rates() -> None:
    """It finds one rate for all; the message names both settings."""
    masters = build_masters()
    groups = [RateGroup([masters[0]], 1.0), RateGroup([masters[1]], 1e-4)]
    with pytest.raises(InvalidInput, match="textEncoderLearningRate and"):
        build_optimizer(groups, build_settings(optimizer="Prodigy"))


def test_8_bit_moments_need_a_gpu() -> None:
    """Without a GPU the user is told so, and what to set."""
    with pytest.raises(InvalidInput, match="set it to AdamW, or ask for a GPU"):
        check_optimizer(build_settings(optimizer="AdamW8bit"), torch.device("cpu"))


def test_8_bit_moments_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without the library says so before anything is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InvalidInput, match="bitsandbytes, which this trainer image lacks"):
        check_optimizer(build_settings(optimizer="AdamW8bit"), torch.device("cuda"))


def test_moments_of_8_bits_come_back_as_they_were(tmp_path: Path) -> None:
    """A state's file keeps every tensor's number format: codes of 8 bits, their scales, an estimate in float64."""
    bench = Bench("AdamW")
    codes = torch.arange(255, dtype=torch.uint8)
    estimate = torch.tensor(1e-6, dtype=torch.float64)
    entries = {"state1": codes, "absmax1": torch.rand(3), "distance": estimate, "step": 7}
    bench.optimizer.state[bench.masters[0]] = entries
    other = Bench("AdamW")
    tensors, plain = bench.remember()
    write_tensors(tmp_path / "moments.safetensors", tensors, {})
    join_state(other.optimizer, load_file(tmp_path / "moments.safetensors"), plain)
    entries = other.optimizer.state[other.masters[0]]
    assert torch.equal(entries["state1"], codes)
    assert entries["state1"].dtype == torch.uint8
    assert torch.equal(entries["absmax1"], bench.optimizer.state[bench.masters[0]]["absmax1"])
    assert torch.equal(entries["distance"], estimate)
    assert entries["step"] == 7


def test_a_state_of_an_unknown_format_is_not_written(tmp_path: Path) -> None:
    """What cannot be read back bit for bit is not written as something else."""
    with pytest.raises(TypeError, match="bfloat16"):
        write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1, dtype=torch.bfloat16)}, {})
