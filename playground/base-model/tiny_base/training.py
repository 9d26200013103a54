"""What all training stages share: how long they are, how the rate falls, how they start and how they tell.

In: a stage's name and numbers. Out: rates and lines on the terminal. Knows torch, no model in particular.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Plan:
    """How many pictures, steps and rows a batch every stage takes."""

    pictures: int
    scribbles: int
    text_steps: int
    text_batch: int
    autoencoder_steps: int
    autoencoder_batch: int
    polish_steps: int
    polish_batch: int
    denoiser_steps: int
    denoiser_batch: int


PLANS = {
    "cpu": Plan(pictures=12_000, scribbles=4_000, text_steps=600, text_batch=32, autoencoder_steps=5_000,
                autoencoder_batch=8, polish_steps=6_000, polish_batch=8, denoiser_steps=4_500, denoiser_batch=32),
    "cuda": Plan(pictures=60_000, scribbles=20_000, text_steps=1_500, text_batch=128, autoencoder_steps=6_000,
                 autoencoder_batch=32, polish_steps=6_000, polish_batch=32, denoiser_steps=12_000, denoiser_batch=128),
    "smoke": Plan(pictures=200, scribbles=100, text_steps=3, text_batch=8, autoencoder_steps=3,
                  autoencoder_batch=4, polish_steps=3, polish_batch=4, denoiser_steps=3, denoiser_batch=8),
}  # fmt: skip
"""`cpu` is what the committed weights were made with; `smoke` only proves that every stage runs."""


class Progress:
    """Tells on the terminal how a stage goes: step, running mean of the loss, seconds, steps per second."""

    def __init__(self, stage: str, steps: int, every_steps: int = 100) -> None:
        self._stage, self._steps, self._every_steps = stage, steps, every_steps
        self._started = time.monotonic()
        self._mean: float | None = None

    def note(self, step: int, loss: torch.Tensor) -> None:
        """Take the loss of step `step` (from 0) into the mean and print a line now and then."""
        is_due = (step + 1) % self._every_steps == 0 or step + 1 == self._steps
        if not is_due and step % 10:
            return  # reading a loss waits for the device, so only every tenth is read
        value = float(loss.detach())
        self._mean = value if self._mean is None else 0.9 * self._mean + 0.1 * value
        if is_due:
            seconds = time.monotonic() - self._started
            print(f"{self._stage} {step + 1}/{self._steps} loss {self._mean:.4f} "
                  f"{seconds:.0f} s {(step + 1) / seconds:.2f} steps/s", flush=True)  # fmt: skip


def set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int, warmup_steps: int = 50) -> None:
    """Set the learning rate of step `step`: a linear start, then half a cosine down to a hundredth of the peak."""
    rise = min(1.0, (step + 1) / warmup_steps)
    fall = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    for group in optimiser.param_groups:
        group["lr"] = peak * max(0.01, rise * fall)


def start_gently(model: nn.Module) -> None:
    """Start every residual branch at zero and keep the scale of the trunk's convolutions.

    diffusers leaves torch's default, which shrinks the signal in each convolution; without this an autoencoder of this
    size still had an L1 of .45 after 160 steps, with it .22 (same seed, rate and pictures).
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if name.endswith(("conv2", "to_out.0", "ff.net.2")):
            nn.init.zeros_(layer.weight)
        elif isinstance(layer, nn.Conv2d) and (
            "samplers" in name or name.endswith(("conv_in", "conv_out", "conv_shortcut", "quant_conv"))
        ):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def keep_large_buffers() -> None:
    """Tell glibc to keep freed buffers for the next step, which spares most of the page faults on a CPU."""
    if sys.platform == "linux":
        library = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        library.mallopt(mmap_threshold, 2**30)
        library.mallopt(trim_threshold, 2**31 - 1)
