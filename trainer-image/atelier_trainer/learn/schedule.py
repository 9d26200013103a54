"""The course of the learning rate: a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from atelier_contract.settings import Settings


def scale_rate(step: int, settings: Settings) -> float:
    """Return the factor on the learning rate at a step, in (0, 1].

    During warm-up it rises linearly and reaches 1 at step `warmup_steps`, which may exceed the steps; its first value
    is above 0, so that no step is without effect. Afterwards it stays at 1, or follows half a cosine that would reach 0
    one step after the last; with restarts it does so in several equal courses, each from 1 (Loshchilov and Hutter 2017,
    without their growing periods).

    Args:
        step: optimiser steps done before this one.
        settings: steps, warm-up, schedule and its restarts.
    """
    warmup = settings.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, settings.steps - warmup)
    if settings.schedule == "cosineWithRestarts":
        done = (done * settings.restarts) % 1.0
    return 0.5 * (1.0 + math.cos(math.pi * done))
