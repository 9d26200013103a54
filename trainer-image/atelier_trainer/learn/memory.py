"""How many pictures one pass takes: from settings where they say so, else from what one picture is seen to need.

On a GPU two passes are tried before the first step, on one picture and on two of the largest shape: the first shows
what a pass needs at least, the difference what each further picture adds. As many are taken as fit beside what is still
to come (the optimiser's moments) and a margin. Only where not even one fits so are activations recomputed instead of
kept: that costs a forward pass more (2.32 against 1.72 TFLOP a picture for Stable Diffusion 1.5), smaller passes cost
next to nothing. Trying changes nothing that training reads.

Where settings or an earlier attempt say how many pictures a pass takes, that is not counted anew, and one picture is
tried all the same: nobody says beforehand whether activations have to be recomputed.

On the CPU nothing is tried: the operator has sized the pod, and more pictures in a pass bring no speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from diffusers import ModelMixin
from torch import nn

MARGIN = 0.9
"""Part of the free memory that passes may fill: allocators leave gaps, and kernels need room of their own."""


class Meter(Protocol):
    """Tells of a device's memory."""

    def free_bytes(self) -> int:
        """Return what is free or held for reuse."""

    def peak_bytes(self, work: Callable[[], None]) -> int:
        """Run the work; return how much more than before it held at most.

        Raises:
            torch.OutOfMemoryError: it did not fit.
        """


class CudaMeter:
    """Tells of the present GPU's memory."""

    def free_bytes(self) -> int:
        """Return what the driver has free and what torch holds without using it."""
        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()

    def peak_bytes(self, work: Callable[[], None]) -> int:
        """Run the work and wait for it."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


@dataclass(frozen=True)
class Fit:
    """How passes fit a device."""

    micro_batch: int
    recomputes: bool
    """Whether activations are recomputed in the backward pass."""


def fit_passes(
    meter: Meter,
    run: Callable[[int], None],
    recompute: Callable[[], None],
    most: int,
    to_come_bytes: int,
    *,
    is_said: bool = False,
) -> Fit:
    """Return how many pictures a pass takes, trying one and two.

    Args:
        meter: of the device.
        run: a forward and backward pass on so many pictures of the largest shape, without effect on training.
        recompute: makes passes recompute their activations from then on.
        most: pictures that a pass may have.
        to_come_bytes: what the first step will allocate for good: the optimiser's moments.
        is_said: whether passes have `most` pictures because someone said so, and only a shortage lowers it.

    Raises:
        torch.OutOfMemoryError: not even one picture fits, recomputed.
    """
    try:
        first = meter.peak_bytes(lambda: run(1))
        recomputes = first > _count_room(meter, to_come_bytes)
    except torch.OutOfMemoryError:
        recomputes = True
    if recomputes:  # tried only now that the error, which holds on to what did not fit, is gone
        recompute()
        first = meter.peak_bytes(lambda: run(1))
    return Fit(most if is_said else _count(meter, run, first, most, to_come_bytes), recomputes)


def recompute_activations(denoiser: nn.Module) -> None:
    """Make a denoiser of diffusers recompute its activations."""
    cast("ModelMixin", denoiser).enable_gradient_checkpointing()


def _count_room(meter: Meter, to_come_bytes: int) -> float:
    """Return how many bytes passes may fill."""
    return meter.free_bytes() * MARGIN - to_come_bytes


def _count(meter: Meter, run: Callable[[int], None], first: int, most: int, to_come_bytes: int) -> int:
    """Return how many pictures fit, of which the first needs `first` bytes."""
    if most == 1:
        return 1
    try:
        further = max(1, meter.peak_bytes(lambda: run(2)) - first)
    except torch.OutOfMemoryError:
        return 1
    return max(1, min(most, 1 + int((_count_room(meter, to_come_bytes) - first) // further)))
