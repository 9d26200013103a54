"""A frozen base in few bits: how near its answers stay, that training runs, and that exports know nothing of it."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atelier_contract.architectures import Architecture
from atelier_contract.tuning import Quantization
from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.quantization import BYTES_PER_WEIGHT, QuantizedLinear, Quantizer
from tiny_models import WRITERS

BITS: tuple[Quantization, ...] = ("8bit", "4bit")
LARGEST_ERROR = {"8bit": 0.01, "4bit": 0.1}
"""Relative, of normally distributed weights: about a 140th and an eleventh."""


@pytest.fixture(params=BITS)
def bits(request: pytest.FixtureRequest) -> Quantization:
    """Each number of bits."""
    found: Quantization = request.param
    return found


def build_layer(bits: Quantization, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, QuantizedLinear]:
    """Return a linear layer and the same in few bits."""
    torch.manual_seed(4)
    wide = nn.Linear(512, 256).to(dtype).requires_grad_(requires_grad=False)
    lean = QuantizedLinear(wide, bits)
    lean.keep(wide.weight)
    return wide, lean


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_is_near(bits: Quantization, dtype: torch.dtype) -> None:
    """The widened weight is the original to the format's rounding, in the original's number format."""
    wide, lean = build_layer(bits, dtype)
    error = (lean.weight - wide.weight).float().norm() / wide.weight.float().norm()
    assert lean.weight.dtype == dtype
    assert 0 < float(error) < LARGEST_ERROR[bits]


def test_it_takes_little_room(bits: Quantization) -> None:
    """What is kept weighs what the estimate says, beside one table of values."""
    _, lean = build_layer(bits)
    kept = lean.packed.numel() * lean.packed.element_size() + lean.scales.numel() * lean.scales.element_size()
    assert kept == 512 * 256 * BYTES_PER_WEIGHT[bits]


def test_gradient_is_that_of_the_widened_weight(bits: Quantization) -> None:
    """What flows back is the product with the very weight that was used forward: no straight-through guess."""
    _, lean = build_layer(bits)
    x = torch.randn(3, 5, 512, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    gradient = torch.randn(3, 5, 256)
    lean(x).backward(gradient)
    nn.functional.linear(twin, lean.weight, lean.bias).backward(gradient)
    assert x.grad is not None
    assert twin.grad is not None
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-5, atol=1e-5)


def test_moving_moves_everything(bits: Quantization) -> None:
    """All that the layer needs are buffers or parameters, so that moving the model moves it; here to no memory."""
    _, lean = build_layer(bits)
    moved = lean.to("meta")
    assert {tensor.device.type for tensor in (moved.packed, moved.scales, moved.code, moved.bias)} == {"meta"}


@pytest.fixture(scope="module", params=WRITERS)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """Each family."""
    found: Architecture = request.param
    return found


@pytest.fixture(scope="module")
def folder(architecture: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family."""
    return WRITERS[architecture](tmp_path_factory.mktemp("model"))


def load(architecture: Architecture, folder: Path, bits: Quantization) -> Family:
    """Load a family on the CPU."""
    return load_family(architecture, folder, torch.device("cpu"), torch.float32, "contiguous", quantization=bits)


def test_repeated_blocks_alone_are_lean(architecture: Architecture, folder: Path, bits: Quantization) -> None:
    """Every linear layer of a repeated block is kept in few bits, and no other layer is."""
    linears = [
        (name, layer)
        for name, layer in load(architecture, folder, bits).denoiser.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    kinds = {(type(layer) is QuantizedLinear, "block" in name.split(".")[0]) for name, layer in linears}
    assert kinds == {(True, True), (False, False)}


def test_answers_stay_near(architecture: Architecture, folder: Path, bits: Quantization) -> None:
    """The denoiser answers nearly as the wide one does, and not to the bit: the bits are really gone."""
    wide, lean = load(architecture, folder, "none"), load(architecture, folder, bits)
    torch.manual_seed(5)
    noisy = torch.randn(2, wide.latent_channels, 8, 8)
    times = torch.tensor([0.3, 0.7]) if architecture is Architecture.FLUX_1 else torch.tensor([300, 700])
    with torch.no_grad():
        conditions = wide.encode_prompts(["a star", "a teapot"])
        one, other = wide.predict(noisy, times, conditions), lean.predict(noisy, times, conditions)
    error = float((one - other).norm() / one.norm())
    assert 0 < error < 5 * LARGEST_ERROR[bits]


def test_missing_weight_is_named() -> None:
    """A replaced layer whose weight the file lacks is named."""
    quantizer = Quantizer("4bit")
    quantizer.adopt(nn.ModuleDict({"blocks": nn.Linear(64, 64)}))
    with pytest.raises(KeyError, match=r"blocks\.weight"):
        quantizer.require_all()


def test_another_shape_is_refused() -> None:
    """A weight of another shape than the config says is refused before it is kept."""
    quantizer = Quantizer("4bit")
    quantizer.adopt(nn.ModuleDict({"blocks": nn.Linear(64, 64)}))
    with pytest.raises(ValueError, match=r"blocks\.weight has the shape \[64, 32\]"):
        quantizer.take("blocks.weight", torch.zeros(64, 32))


def test_absent_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bitsandbytes the refusal names the setting and what to do."""
    load = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("bitsandbytes"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InvalidInput, match=r"tuning\.quantization needs the library bitsandbytes"):
        Quantizer("4bit").adopt(nn.Linear(2, 2))


def test_none_replaces_nothing() -> None:
    """Without quantisation no layer is touched and no library loaded."""
    model = nn.ModuleDict({"blocks": nn.Linear(2, 2)})
    Quantizer("none").adopt(model)
    assert type(model["blocks"]) is nn.Linear
