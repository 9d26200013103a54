"""The counter of framework operations, held against work whose operations are known."""

from __future__ import annotations

import torch
from counting import OperationCounter, count_operations
from torch import nn


def build_layer() -> tuple[nn.Linear, torch.Tensor]:
    layer = nn.Linear(3, 2, bias=False)
    return layer, torch.ones(4, 3)


def test_a_forward_pass_is_counted() -> None:
    """A layer without bias is one transposition and one product."""
    layer, rows = build_layer()
    with torch.no_grad():
        counts = count_operations(lambda: layer(rows))
    assert counts == {"aten.t.default": 1, "aten.mm.default": 1}


def test_the_backward_pass_is_counted() -> None:
    """The weight's gradient is one more product: nothing that autograd runs is missed."""
    layer, rows = build_layer()
    counts = count_operations(lambda: layer(rows).sum().backward())
    assert counts["aten.mm.default"] == 2


def test_a_fused_optimiser_is_one_operation_for_all_its_parameters() -> None:
    """What the profiler is told around it is not counted; the steps' own counter is."""
    layers = nn.ModuleList(build_layer()[0] for _ in range(5))
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser = torch.optim.AdamW(layers.parameters(), fused=True)
    optimiser.step()
    assert count_operations(optimiser.step) == {"aten._fused_adamw_.default": 1, "aten._foreach_add_.Scalar": 1}


def test_nothing_outside_is_counted_and_counting_goes_on() -> None:
    """A counter that is entered again adds to what it had."""
    counter, rows = OperationCounter(), torch.ones(2)
    with counter:
        rows.neg()
    rows.neg()
    with counter:
        rows.neg()
    assert counter.total == 2
