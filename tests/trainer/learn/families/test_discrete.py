"""Noise, targets and the last timestep of the discrete families, against closed forms in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.families.base import SamplerSettings
from atelier_trainer.learn.families.discrete import DiscreteDiffusion, build_sampler
from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1
from atelier_trainer.learn.families.stable_diffusion_xl import StableDiffusionXL
from atelier_trainer.learn.noising import NoiseSchedule
from tiny_models import write_stable_diffusion_1, write_stable_diffusion_xl

CPU = torch.device("cpu")
TIMES = torch.tensor([0, 1, 500, 998, 999])
SHAPE = (5, 4, 8, 8)
Closed = Callable[[Tensor, Tensor, Tensor], Tensor]
TARGETS: dict[str, Closed] = {
    "epsilon": lambda _, noise, __: noise.double(),
    "v_prediction": lambda latents, noise, alphas: alphas.sqrt() * noise - (1 - alphas).sqrt() * latents,
}


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def work_out_alphas(*, zero_terminal: bool) -> Tensor:
    """Return ᾱ of both families' published schedule at TIMES, as [5, 1, 1, 1] float64.

    Betas are squares of evenly spread roots from √0.00085 to √0.012. For zero terminal SNR, √ᾱ is shifted so that its
    end is 0, then scaled so that its beginning stays (Lin et al. 2024, algorithm 1).
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    roots = (1 - betas).cumprod(0).sqrt()
    if zero_terminal:
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return (roots**2)[TIMES].view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionXL:
    """Stable Diffusion XL as velocity models with zero terminal SNR are published."""
    folder = tmp_path_factory.mktemp("terminal") / "xl"
    write_stable_diffusion_xl(folder, prediction="v_prediction", zero_terminal=True)
    return StableDiffusionXL(folder, CPU, torch.float32, "contiguous")


def check(family: DiscreteDiffusion, prediction: str, *, zero_terminal: bool = False) -> None:
    """Assert that noised latents and targets are those of the closed forms."""
    latents, noise, alphas = draw(1), draw(2), work_out_alphas(zero_terminal=zero_terminal)
    noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * noise
    target = TARGETS[prediction](latents, noise, alphas)
    assert torch.allclose(family.add_noise(latents, noise, TIMES).double(), noisy, atol=2e-5)
    assert torch.allclose(family.target(latents, noise, TIMES).double(), target, atol=2e-5)


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize(
    ("write", "kind"),
    [(write_stable_diffusion_1, StableDiffusion1), (write_stable_diffusion_xl, StableDiffusionXL)],
    ids=["StableDiffusion1", "StableDiffusionXL"],
)
def test_noise_and_targets_are_the_closed_forms(
    tmp_path: Path, write: Any, kind: type[DiscreteDiffusion], prediction: str
) -> None:
    """Both families, at both ends of the schedule and in the middle, for what their configs say they predict."""
    check(kind(write(tmp_path / "base", prediction=prediction), CPU, torch.float32, "contiguous"), prediction)


def test_nothing_is_left_at_a_zero_terminal(terminal: StableDiffusionXL) -> None:
    """With zero terminal SNR the last latents are noise to the last bit, and their velocity the picture's opposite."""
    check(terminal, "v_prediction", zero_terminal=True)
    last = torch.full((5,), 999)
    assert torch.equal(terminal.add_noise(draw(1), draw(2), last), draw(2))
    assert torch.equal(terminal.target(draw(1), draw(2), last), -draw(1))


FAULTS: dict[str, Callable[[NoiseSchedule], NoiseSchedule]] = {
    "noise asked of a velocity model": lambda right: NoiseSchedule(right.alphas, "epsilon"),
    "the timestep before": lambda right: NoiseSchedule(right.alphas.roll(1), right.prediction),
    "betas spread evenly": lambda right: NoiseSchedule(
        (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0), right.prediction
    ),
    "alphas for their roots": lambda right: NoiseSchedule(right.alphas**2, right.prediction),
    "the schedule as if it were not rescaled": lambda right: NoiseSchedule(
        (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0), right.prediction
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_schedules_would_be_seen(
    terminal: StableDiffusionXL, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The check fails with each known fault put back."""
    monkeypatch.setattr(terminal, "schedule", FAULTS[fault](terminal.schedule))
    with pytest.raises(AssertionError):
        check(terminal, "v_prediction", zero_terminal=True)


def test_drawing_begins_where_nothing_is_left(terminal: StableDiffusionXL, xl: StableDiffusionXL) -> None:
    """With zero terminal SNR the first step of a sample is at the last timestep; else as the config spaces them."""
    assert int(build_sampler(terminal._sampler_config, 4).timesteps[0]) == 999
    assert int(build_sampler(xl._sampler_config, 4).timesteps[0]) == 751


def test_timesteps_are_drawn_over_the_whole_schedule(terminal: StableDiffusionXL) -> None:
    """Every tenth of the schedule gets its share, whatever the picture's size."""
    shape = torch.Size((4, 8, 8))
    drawn = torch.stack([terminal.draw_timestep(torch.Generator().manual_seed(s), shape) for s in range(2000)])
    shares = torch.histc(drawn.float(), 10, 0, 1000) / 2000
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.03)


@pytest.mark.parametrize("prediction", ["sample", "flow"])
def test_other_predictions_are_refused(tmp_path: Path, prediction: str) -> None:
    """A model that predicts something else is refused by the name of its scheduler config, and not trained wrongly."""
    folder = write_stable_diffusion_1(tmp_path / "one")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', f'"{prediction}"'))
    with pytest.raises(BaseModelUnusable, match=f"{prediction}.*scheduler_config"):
        StableDiffusion1(folder, CPU, torch.float32, "contiguous")


def test_latents_of_another_scale_are_refused(tmp_path: Path) -> None:
    """An autoencoder that scales each channel by itself belongs to another kind of model."""
    folder = write_stable_diffusion_xl(tmp_path / "xl")
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace('"latents_mean": null', '"latents_mean": [0.0, 0.0, 0.0, 0.0]'))
    with pytest.raises(BaseModelUnusable, match="latents_mean"):
        StableDiffusionXL(folder, CPU, torch.float32, "contiguous")


@torch.no_grad()
def test_guidance_leads_away_from_the_negative_prompt(xl: StableDiffusionXL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guidance 1 asks the denoiser once a step; above it asks twice, and goes on from the negative answer."""
    asked: list[Any] = []
    right = StableDiffusionXL.predict

    def count(self: Any, *told: Any) -> Tensor:
        asked.append(told)
        return right(self, *told)

    monkeypatch.setattr(StableDiffusionXL, "predict", count)
    conditions = xl.encode_prompts(["a star"])
    xl.sample(draw(1)[:1], conditions, xl.encode_prompts([""]), SamplerSettings(2, 1), lambda: None)
    assert len(asked) == 2
    same = xl.sample(draw(1)[:1], conditions, conditions, SamplerSettings(2, 7), lambda: None)
    plain = xl.sample(draw(1)[:1], conditions, conditions, SamplerSettings(2, 1), lambda: None)
    assert torch.allclose(same, plain, atol=1e-5), "away from the prompt itself, at any strength, is nowhere"
