"""The denoiser compiled: its operations fused and its host code gone, for training passes alone.

On the CPU the whole denoiser is one graph, because what is left between compiled parts is most of what compiling could
save there. On a GPU, where a captured step leaves nothing between them, the parts that repeat are compiled one by one:
a kind of block in one shape is compiled once, in seconds instead of minutes.

Samples and measurements have other shapes and need no gradient; they would have everything compiled again. So compiled
code is in place during training passes only, and everything else sees the denoiser as it was.

In: a denoiser with its adapters. Knows neither batches nor methods.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

REPEATED = ("BasicTransformerBlock", "ResnetBlock2D", "FluxTransformerBlock", "FluxSingleTransformerBlock")
"""Classes of diffusers that UNets and FLUX's transformer are made of."""
MOST_VARIANTS = 128
"""Of one piece of code, by shapes: XL has 13 kinds of blocks, and each bucket has its own. Torch's own limit of 8 would
leave the others uncompiled without a word."""
COMPILERS = ("c++", "g++", "clang++")


class Compilation:
    """Compiled code of a denoiser, made when it is first used."""

    def __init__(self, denoiser: nn.Module, device: torch.device) -> None:
        """Compile nothing yet."""
        torch._dynamo.config.recompile_limit = MOST_VARIANTS  # noqa: SLF001 - it has no public name
        parts = [module for module in denoiser.modules() if type(module).__name__ in REPEATED]
        regions = parts if device.type == "cuda" and parts else [denoiser]
        self._regions: list[tuple[nn.Module, Callable[..., Any]]] = [
            (region, torch.compile(region.forward, dynamic=False)) for region in regions
        ]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the denoiser run compiled inside the block."""
        for region, compiled in self._regions:
            region.forward = compiled
        try:
            yield
        finally:
            for region, _ in self._regions:
                del region.forward  # what is left is the class's own


def has_compiler() -> bool:
    """Return whether there is what compiled code is built with: both kinds of it need a C++ compiler."""
    return any(shutil.which(name) for name in COMPILERS)
