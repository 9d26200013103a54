"""Noising, targets, loss weights and the learning rate against closed forms and against diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler

from atelier_trainer.learn.noising import NoiseSchedule
from atelier_trainer.learn.schedule import scale_rate
from learning import build_settings

ALPHAS = torch.tensor([0.9, 0.5, 0.1])
EVERY = torch.tensor([0, 1, 2])


def draw(seed: int) -> torch.Tensor:
    return torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def test_noising_agrees_with_diffusers() -> None:
    """Noised latents equal those of diffusers' DDPM scheduler to the last bit."""
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    times = torch.tensor([0, 500, 999])
    ours = NoiseSchedule(scheduler.alphas_cumprod, "epsilon").add_noise(draw(1), draw(2), times)
    assert torch.equal(ours, scheduler.add_noise(draw(1), draw(2), times))


def test_the_velocity_agrees_with_diffusers() -> None:
    """The v target equals diffusers' own."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    times = torch.tensor([0, 500, 999])
    ours = NoiseSchedule(scheduler.alphas_cumprod, "v_prediction").target(draw(1), draw(2), times)
    assert torch.equal(ours, scheduler.get_velocity(draw(1), draw(2), times))


def test_the_epsilon_target_is_the_noise() -> None:
    """An epsilon model is asked for the noise itself."""
    assert torch.equal(NoiseSchedule(ALPHAS, "epsilon").target(draw(1), draw(2), EVERY), draw(2))


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("epsilon", [5 / 9, 1.0, 1.0]),  # SNR 9, 1, 1/9 with γ = 5: min(SNR, γ) / SNR
        ("v_prediction", [5 / 10, 1 / 2, (1 / 9) / (10 / 9)]),  # min(SNR, γ) / (SNR + 1)
    ],
)
def test_min_snr_weights(prediction: str, expected: list[float]) -> None:
    """The weights are the published ones, worked out by hand."""
    weights = NoiseSchedule(ALPHAS, prediction).weigh(EVERY, 5.0)
    assert weights.tolist() == pytest.approx(expected, rel=1e-5)


def test_weights_hold_where_nothing_is_left_of_the_picture() -> None:
    """At SNR 0 (zero-terminal schedules) weights are finite."""
    alphas, last = torch.tensor([0.5, 0.0]), torch.tensor([1])
    assert NoiseSchedule(alphas, "epsilon").weigh(last, 5.0).item() == 1.0
    assert NoiseSchedule(alphas, "v_prediction").weigh(last, 5.0).item() == 0.0


def test_gamma_0_weighs_all_alike() -> None:
    """SnrGamma 0 switches the weighting off."""
    assert NoiseSchedule(ALPHAS, "epsilon").weigh(EVERY, 0).tolist() == [1, 1, 1]


def rate_at(step: int, *, schedule: str, steps: int = 100, warmup: int = 0, restarts: int = 3) -> float:
    """Return the factor at a step of a course."""
    return scale_rate(step, build_settings(steps=steps, warmupSteps=warmup, schedule=schedule, restarts=restarts))


def test_warm_up_rises_to_the_full_rate() -> None:
    """Four warm-up steps rise by fifths, and step 4 has the full rate."""
    rates = [rate_at(step, schedule="constant", warmup=4) for step in range(5)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_constant_rate_stays() -> None:
    """After warm-up a constant schedule does not move."""
    assert rate_at(99, schedule="constant") == 1.0


def test_a_cosine_rate_falls_to_half_in_the_middle() -> None:
    """Half-way the cosine is at a half, and its last step is small but not without effect."""
    assert rate_at(50, schedule="cosine") == pytest.approx(0.5)
    assert rate_at(99, schedule="cosine") == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert rate_at(99, schedule="cosine") > 0


def test_restarts_begin_again_at_the_full_rate() -> None:
    """Three courses of thirty steps after ten of warm-up: each begins at 1 and is half done after fifteen."""
    rates = [rate_at(step, schedule="cosineWithRestarts", warmup=10) for step in range(100)]
    assert [step for step, rate in enumerate(rates) if rate == 1.0] == [10, 40, 70]
    assert [rates[step] for step in (25, 55, 85)] == pytest.approx([0.5, 0.5, 0.5])


def test_a_warm_up_longer_than_the_run_never_falls() -> None:
    """A run shorter than its warm-up only rises."""
    rates = [rate_at(step, schedule="cosine", steps=10, warmup=20) for step in range(10)]
    assert rates == sorted(rates)
