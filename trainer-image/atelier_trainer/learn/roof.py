"""What a step could cost at best: its arithmetic, and how fast the device multiplies.

The share of the roof is operations a second of training over those of one plain large matrix product. It says how much
of a device a run uses, whatever the model; none of the usual trainers tells it.

In: a pass, a device. Out: numbers for people. Nothing is decided by them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from atelier_trainer.records import Clock

SIDE = {"cuda": 8192, "cpu": 512}
"""Of the square matrices: large enough that a product is all arithmetic, small enough that it takes milliseconds."""
REPEATS = 5
"""Of the product; the fastest counts."""


def count_operations(work: Callable[[], object]) -> int:
    """Run the work; return its multiplications and additions in matrix products and convolutions."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _count_addmm}) as counter:
        work()
    return int(counter.get_total_flops())


def measure_roof(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """Return the operations a second of a plain matrix product, waiting for the device."""
    side = SIDE["cuda" if device.type == "cuda" else "cpu"]
    one = torch.ones(side, side, device=device, dtype=dtype)
    product = torch.empty_like(one)
    seconds = min(_time(one, product, clock) for _ in range(REPEATS))
    return 2 * side**3 / seconds


def _time(one: Tensor, product: Tensor, clock: Clock) -> float:
    _wait(one.device)
    start = clock()
    torch.mm(one, one, out=product)
    _wait(one.device)
    return clock() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _count_addmm(_target: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    """Count what torch's counter leaves out: a product [M, K] x [K, N] added in place."""
    return 2 * left[0] * left[1] * right[1]
