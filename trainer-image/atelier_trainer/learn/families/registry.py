"""How a base model of any family is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from atelier_contract.architectures import Architecture
from atelier_contract.tuning import Quantization
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.flux import Flux1
from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1
from atelier_trainer.learn.families.stable_diffusion_xl import StableDiffusionXL

Load = Callable[[Path, torch.device, torch.dtype, str, Quantization], Family]
FAMILIES: dict[Architecture, Load] = {
    Architecture.STABLE_DIFFUSION_1: StableDiffusion1,
    Architecture.STABLE_DIFFUSION_XL: StableDiffusionXL,
    Architecture.FLUX_1: Flux1,
}


def load_family(
    architecture: Architecture,
    folder: Path,
    device: torch.device,
    denoiser_dtype: torch.dtype,
    layout: str,
    *,
    quantization: Quantization = "none",
) -> Family:
    """Load a base model; its denoiser goes on loading in the background.

    Raises:
        BaseModelUnusable: the folder does not hold such a model.
    """
    return FAMILIES[architecture](folder, device, denoiser_dtype, layout, quantization)
