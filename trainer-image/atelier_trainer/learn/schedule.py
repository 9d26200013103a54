"""The course of the learning rate: a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from atelier_contract.tuning import Schedule


def scale_rate(step: int, total_steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """Return the factor on the learning rate at a step, in (0, 1].

    During warm-up it rises linearly and reaches 1 at step `warmup_steps`; its first value is above 0, so that no step
    is without effect. Afterwards it stays at 1, or follows half a cosine that would reach 0 at `total_steps`, one step
    after the last.

    Args:
        step: optimiser steps done before this one.
        total_steps: steps of the whole run.
        warmup_steps: steps below the full rate; may exceed `total_steps`.
        schedule: the course after warm-up.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))
