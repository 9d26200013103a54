"""Adapters as lean layers: nothing at first, then the gradients of plain arithmetic, and gone when switched off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from atelier_trainer.learn.adapters import AdaptedConvolution, AdaptedLinear, AdapterSet, adapters_off, inject_adapters

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "narrow", "halve", "mix")


class Block(nn.Module):
    """Every kind of adapted layer: two convolutions, self-attention, cross-attention, a layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.halve = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(8, 16, 1)
        self.own = Attention(16, heads=2, dim_head=8)
        self.cross = Attention(16, cross_attention_dim=24, heads=2, dim_head=8)
        self.narrow = nn.Linear(16, 6, bias=False)

    def forward(self, pictures: Tensor, context: Tensor) -> Tensor:
        hidden = self.mix(self.halve(pictures)).flatten(2).transpose(1, 2)
        hidden = hidden + self.own(hidden)
        hidden = hidden + self.cross(hidden, encoder_hidden_states=context)
        return self.narrow(hidden)


def build_block(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0) -> tuple[Block, AdapterSet]:
    """Return a block with fresh adapters: `down` drawn, `up` zero."""
    torch.manual_seed(0)
    block = Block().to(dtype)
    found = inject_adapters(block, TARGETS, rank=4, alpha=2, dropout=dropout, name_layer=lambda path: path)
    for adapter in found.adapters:
        adapter.down.normal_(std=0.1)
    found.flat.refresh()
    return block, found


def train_up(found: AdapterSet) -> None:
    """Give `up` values, as training would."""
    for adapter in found.adapters:
        adapter.up.normal_(std=0.1)
    found.flat.refresh()


def draw_inputs(dtype: torch.dtype = torch.float32, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Return pictures and context."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(rows, 4, 8, 8, generator=generator).to(dtype),
        torch.randn(rows, 5, 24, generator=generator).to(dtype),
    )


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a switch that makes every layer answer by ordinary operations from then on."""

    def switch() -> None:
        for kind in (AdaptedLinear, AdaptedConvolution):
            monkeypatch.setattr(kind, "forward", kind.answer_plainly)

    return switch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fresh_adapters_change_no_bit(dtype: torch.dtype) -> None:
    """With `up` at zero the adapted block answers to the bit as the block alone."""
    torch.manual_seed(0)
    plain = Block().to(dtype)
    adapted, _ = build_block(dtype)
    assert torch.equal(adapted(*draw_inputs(dtype)), plain(*draw_inputs(dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_switched_off_adapters_leave_the_base(dtype: torch.dtype) -> None:
    """Inside `adapters_off` trained adapters change no bit, and afterwards they are back."""
    torch.manual_seed(0)
    base = Block().to(dtype).requires_grad_(requires_grad=False)(*draw_inputs(dtype))
    block, found = build_block(dtype)
    train_up(found)
    trained = block(*draw_inputs(dtype))
    with adapters_off(block):
        assert torch.equal(block(*draw_inputs(dtype)), base)
    assert torch.equal(block(*draw_inputs(dtype)), trained)
    assert not torch.equal(trained, base)


def test_fused_answers_are_the_plain_ones(plainly: Callable[[], None]) -> None:
    """Both ways answer alike to rounding."""
    block, found = build_block()
    train_up(found)
    fused = block(*draw_inputs())
    plainly()
    torch.testing.assert_close(fused, block(*draw_inputs()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("input_learns", [True, False])
def test_fused_gradients_are_autograds(plainly: Callable[[], None], input_learns: bool) -> None:
    """The gradients of every matrix and of the inputs are those that autograd finds, to 1e-5 of the largest."""

    def differentiate() -> dict[str, Tensor]:
        block, found = build_block()
        train_up(found)
        inputs = [tensor.requires_grad_(input_learns) for tensor in draw_inputs()]
        block(*inputs).square().mean().backward()
        gradients = {name: gradient.clone() for name, gradient in found.flat.gradients.items()}
        return gradients | {str(k): tensor.grad for k, tensor in enumerate(inputs) if tensor.grad is not None}

    fused = differentiate()
    plainly()
    plain = differentiate()
    assert len(fused) == 2 * 11 + 2 * input_learns
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(fused[name], gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()))


def test_double_precision_gradients_pass_gradcheck() -> None:
    """In float64 the input's gradient is the difference quotient's (torch's own check)."""
    layer = nn.Sequential(nn.Linear(6, 5)).double()
    found = inject_adapters(layer, ["0"], rank=2, alpha=3, name_layer=lambda path: path)
    train_up(found)
    found.adapters[0].down.normal_()
    found.flat.refresh()
    inputs = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (inputs,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_micro_batches_add_up(dtype: torch.dtype) -> None:
    """The gradients of two halves, collected one after the other, are those of the whole to the format's rounding."""

    def differentiate(parts: int) -> Tensor:
        block, found = build_block(dtype)
        train_up(found)
        inputs = draw_inputs(dtype)
        for pictures, context in zip(*(tensor.chunk(parts) for tensor in inputs), strict=True):
            block(pictures, context).float().square().sum().backward()
            found.flat.collect()
        assert found.flat.master.grad is not None
        return found.flat.master.grad

    whole = differentiate(1)
    allowed = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(differentiate(2), whole, rtol=0, atol=allowed * float(whole.abs().max()))


def test_a_sum_over_micro_batches_is_not_rounded_to_16_bits() -> None:
    """A gradient of 1/1024 added to one of 1 is kept: a bfloat16 sum would lose it."""
    _, found = build_block(torch.bfloat16)
    name = next(iter(found.flat.compute))
    for value in (1.0, 1 / 1024):
        found.flat.compute_gradients[name].fill_(value)
        found.flat.collect()
    assert bool((found.flat.gradients[name] == 1 + 1 / 1024).all())


def test_a_layer_asked_alone_computes_anew() -> None:
    """A query with another input than its neighbours' gets its own answer, never what was kept for them."""
    block, found = build_block()
    train_up(found)
    one, other = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    first = block.own.to_q(one)
    assert not torch.equal(block.own.to_q(other), first)
    assert torch.equal(block.own.to_q(one), first)


def test_dropout_drops_inputs_of_the_change_alone() -> None:
    """While training, two answers differ; a fresh adapter under dropout still changes no bit."""
    torch.manual_seed(0)
    base = Block().requires_grad_(requires_grad=False)
    block, found = build_block(dropout=0.5)
    with torch.no_grad():
        assert torch.equal(block.train()(*draw_inputs()), base(*draw_inputs()))
    train_up(found)
    assert not torch.equal(block(*draw_inputs()), block(*draw_inputs()))
    assert torch.equal(block.eval()(*draw_inputs()), block(*draw_inputs()))


def test_a_model_without_such_layers_is_refused() -> None:
    """Targets that name nothing are an error, not a run that trains nothing."""
    with pytest.raises(ValueError, match="to_q"):
        inject_adapters(nn.Linear(2, 2), ["to_q"], rank=1, alpha=1, name_layer=lambda path: path)
