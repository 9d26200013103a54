"""The held-out loss: one number per checkpoint that can be compared across a run and across runs.

Every measured picture is noised at the same eight timesteps with noise that follows from the picture and the timestep
alone; its latents are the posterior's mean; the loss is unweighted. What is left to vary is the model. With training
pictures in place of held-out ones it is called the probe loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atelier_trainer.learn.draws import build_generator
from atelier_trainer.learn.families.base import Conditions, Family, Pause

TIMESTEPS = 8
"""Spread over all noise levels; 16 x 20 would cost more than a tenth of the training it measures."""


@dataclass(frozen=True)
class Measured:
    """One picture to measure on."""

    sha256: str
    latents: Tensor
    """Posterior mean, [C, H, W] float32."""
    text: str


def draw_grid_noise(sha256: str, timestep: float, shape: torch.Size) -> Tensor:
    """Return the noise of one picture at one timestep, float32 on the CPU: a function of both and nothing else."""
    return torch.randn(shape, generator=build_generator("evaluation", sha256, str(timestep)))


@torch.no_grad()
def measure_loss(
    family: Family,
    encode: Callable[[Sequence[str]], Conditions],
    pictures: Sequence[Measured],
    pause: Pause,
    *,
    text: str | None = None,
) -> float:
    """Return the mean squared error over all pictures and the timestep grid.

    Args:
        family: the model with whatever is trained in it.
        encode: texts to conditions.
        pictures: what to measure on; at least one.
        pause: called between passes.
        text: said of every picture instead of its own text; the empty text shows what saying nothing would reach.
    """
    grid = family.grid(TIMESTEPS)
    passes = [grid]
    losses = []
    for picture in pictures:  # one picture, all timesteps: the batch is the same whatever the dataset
        pause()
        condition = encode([picture.text if text is None else text])
        errors: list[Tensor] = []
        try:
            errors = [_measure(family, picture, times, condition) for times in passes]
        except torch.OutOfMemoryError:
            if len(passes) > 1:
                raise
        if not errors:  # eight at once may need more than a step of training, whose passes were made to fit
            passes = list(grid.split(1))
            errors = [_measure(family, picture, times, condition) for times in passes]
        losses.append(torch.stack(errors).mean())
    return float(torch.stack(losses).mean())


def _measure(family: Family, picture: Measured, times: Tensor, condition: Conditions) -> Tensor:
    """Return the mean squared error of a picture over some timesteps, [] float64."""
    noise = torch.stack([draw_grid_noise(picture.sha256, t.item(), picture.latents.shape) for t in times])
    latents = picture.latents.expand_as(noise).to(family.device)
    noise, timesteps = noise.to(family.device), times.to(family.device)
    conditions = {name: tensor.expand(len(times), *tensor.shape[1:]) for name, tensor in condition.items()}
    answer = family.predict(family.add_noise(latents, noise, timesteps), timesteps, conditions)
    return (answer - family.target(latents, noise, timesteps)).square().mean().double()
