"""The tiny models, loaded: once a module, for tests that change nothing in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atelier_trainer.learn.families.flux import Flux1
from atelier_trainer.learn.families.stable_diffusion_xl import StableDiffusionXL

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def xl(tiny_xl: Path) -> StableDiffusionXL:
    """Stable Diffusion XL."""
    return StableDiffusionXL(tiny_xl, CPU, torch.float32, "contiguous")


@pytest.fixture(scope="module")
def dev(tiny_flux: Path) -> Flux1:
    """FLUX.1 like dev."""
    return Flux1(tiny_flux, CPU, torch.float32, "contiguous")


@pytest.fixture(scope="module")
def schnell(tiny_schnell: Path) -> Flux1:
    """FLUX.1 like schnell."""
    return Flux1(tiny_schnell, CPU, torch.float32, "contiguous")
