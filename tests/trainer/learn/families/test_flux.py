"""FLUX.1 is told what diffusers' own pipeline tells it, and each known fault of its training would be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from atelier_trainer.learn import flow
from atelier_trainer.learn.families import flux
from atelier_trainer.learn.families.base import POOLED, TEXT, Conditions, SamplerSettings
from atelier_trainer.learn.families.flux import Flux1
from atelier_trainer.learn.sampling import encode_negative

PROMPTS = ["a photo of a red teapot", "star"]
PORTRAIT = (2, 16, 12, 8)
"""Latents of a bucket of 64 x 96 pixels."""
SIGMAS = torch.tensor([0.25, 0.875])
CPU = torch.device("cpu")


def draw(shape: tuple[int, ...], seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def open_pipeline(folder: Path) -> Any:
    opened = FluxPipeline.from_pretrained(folder, local_files_only=True)
    opened.set_progress_bar_config(disable=True)
    return opened


@pytest.fixture(scope="module")
def dev_pipeline(tiny_flux: Path) -> Any:
    """The pipeline of diffusers on the model like dev."""
    return open_pipeline(tiny_flux)


@pytest.fixture(scope="module")
def schnell_pipeline(tiny_schnell: Path) -> Any:
    """The pipeline of diffusers on the model like schnell."""
    return open_pipeline(tiny_schnell)


@pytest.fixture(params=["dev", "schnell"])
def both(request: pytest.FixtureRequest) -> tuple[Flux1, Any]:
    """Each kind with its pipeline."""
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_pipeline")


def listen(family: Flux1, guidance: float | None = None) -> dict[str, Any]:
    """Return what the transformer is told in one training pass, or in a sample's first with a guidance."""
    heard: list[dict[str, Any]] = []
    hook = family.denoiser.register_forward_pre_hook(lambda _, __, said: heard.append(said), with_kwargs=True)
    try:
        conditions = family.encode_prompts(PROMPTS)
        if guidance is None:
            family.predict(draw(PORTRAIT), SIGMAS, conditions)
        else:
            family.sample(draw(PORTRAIT), conditions, {}, SamplerSettings(1, guidance), lambda: None)
    finally:
        hook.remove()
    return heard[0]


@torch.no_grad()
def test_texts_are_encoded_as_the_pipeline_does(both: tuple[Flux1, Any]) -> None:
    """T5's states and CLIP's vector equal the pipeline's to the last bit: 512 tokens for dev, 256 for schnell."""
    family, pipeline = both
    tokens = 512 if family.is_guided else 256
    states, pooled, _ = pipeline.encode_prompt(PROMPTS, max_sequence_length=tokens, device=CPU)
    ours = family.encode_prompts(PROMPTS)
    assert torch.equal(ours[TEXT], states)
    assert torch.equal(ours[POOLED], pooled)


def test_latents_are_packed_as_the_pipeline_does(dev_pipeline: Any) -> None:
    """Tokens, their way back and their places are the pipeline's own, also where a picture is not square."""
    latents = draw(PORTRAIT)
    packed = flux.pack_latents(latents)
    assert torch.equal(packed, dev_pipeline._pack_latents(latents, *PORTRAIT))
    assert torch.equal(flux.unpack_latents(packed, *PORTRAIT[2:]), latents)
    places = dev_pipeline._prepare_latent_image_ids(2, PORTRAIT[2] // 2, PORTRAIT[3] // 2, CPU, torch.float32)
    assert torch.equal(flux.list_positions(PORTRAIT[2] // 2, PORTRAIT[3] // 2), places)


@torch.no_grad()
def test_answers_as_the_pipelines_transformer(both: tuple[Flux1, Any]) -> None:
    """One pass equals the pipeline's transformer, called with what the pipeline's own functions make of the inputs."""
    family, pipeline = both
    states, pooled, text_places = pipeline.encode_prompt(PROMPTS, max_sequence_length=family.text_tokens, device=CPU)
    noisy = draw(PORTRAIT)
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy, *PORTRAIT),
        timestep=SIGMAS * 1000 / 1000,
        guidance=torch.ones(2) if family.is_guided else None,
        pooled_projections=pooled,
        encoder_hidden_states=states,
        txt_ids=text_places,
        img_ids=pipeline._prepare_latent_image_ids(2, PORTRAIT[2] // 2, PORTRAIT[3] // 2, CPU, torch.float32),
    ).sample
    theirs = pipeline._unpack_latents(packed, PORTRAIT[2] * 8, PORTRAIT[3] * 8, 8)
    assert torch.equal(family.predict(noisy, SIGMAS, family.encode_prompts(PROMPTS)), theirs)


@torch.no_grad()
def test_draws_as_the_pipeline_does(both: tuple[Flux1, Any]) -> None:
    """A sample equals the pipeline's picture from the same noise, steps, shift and guidance."""
    family, pipeline = both
    noise = draw((1, *PORTRAIT[1:]))
    ours = family.sample(noise, family.encode_prompts(PROMPTS[:1]), {}, SamplerSettings(3, 3.5), lambda: None)
    theirs = pipeline(
        PROMPTS[0],
        height=96,
        width=64,
        num_inference_steps=3,
        guidance_scale=3.5,
        max_sequence_length=family.text_tokens,
        latents=flux.pack_latents(noise),
        output_type="pt",
    ).images
    assert torch.allclose((ours / 2 + 0.5).clamp(0, 1), theirs, atol=1e-5)


# Each check below is run on what is right, and again with a known fault put back: then it must fail.


def check_latent_scale(family: Flux1, pipeline: Any) -> None:
    """Assert that latents are shifted, then scaled, so that the pipeline's way back leads to the VAE's own."""
    pixels = draw((1, 3, 64, 64)).clamp(-1, 1)
    config = pipeline.vae.config
    with torch.no_grad():
        own = pipeline.vae.encode(pixels).latent_dist
    found = family.encode_picture(pixels)
    assert torch.allclose(found.mean / config.scaling_factor + config.shift_factor, own.mean, atol=1e-5)
    assert torch.allclose(found.deviation / config.scaling_factor, own.std, atol=1e-6)


def check_row_sigmas(family: Flux1) -> None:
    """Assert that each row is noised with the sigma that the transformer is told for it."""
    latents, noise = draw(PORTRAIT, 1), draw(PORTRAIT, 2)
    noisy = family.add_noise(latents, noise, SIGMAS)
    told = listen(family)["timestep"]
    for row, sigma in enumerate(told.tolist()):
        assert torch.allclose(noisy[row], (1 - sigma) * latents[row] + sigma * noise[row], atol=1e-6)
        assert sigma == SIGMAS[row]


def check_shift(family: Flux1, pipeline: Any) -> None:
    """Assert that drawn shares of noise are shifted as the pipeline shifts them for a picture of that size."""
    shape = torch.Size((16, 128, 64))
    drawn = family.draw_timestep(torch.Generator().manual_seed(9), shape)
    plain = 1 / (1 + math.exp(-float(torch.randn((), generator=torch.Generator().manual_seed(9)))))
    config = pipeline.scheduler.config
    mu = calculate_shift(
        64 * 32, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    pipeline.scheduler.set_timesteps(sigmas=[plain], mu=mu)
    assert float(drawn) == pytest.approx(float(pipeline.scheduler.sigmas[0]), rel=1e-6)


def check_target(family: Flux1) -> None:
    """Assert that following the target from noised latents leads to the picture, and back to the noise."""
    latents, noise = draw(PORTRAIT, 1), draw(PORTRAIT, 2)
    noisy, target = family.add_noise(latents, noise, SIGMAS), family.target(latents, noise, SIGMAS)
    share = SIGMAS.view(-1, 1, 1, 1)
    assert torch.allclose(noisy - share * target, latents, atol=1e-6)
    assert torch.allclose(noisy + (1 - share) * target, noise, atol=1e-6)


def check_guidance(family: Flux1) -> None:
    """Assert that training tells dev no guidance, and samples what is asked for."""
    assert listen(family)["guidance"].tolist() == [1, 1]
    assert listen(family, guidance=3.5)["guidance"].tolist() == [3.5, 3.5]


def test_latents_are_shifted_and_scaled(dev: Flux1, dev_pipeline: Any) -> None:
    """(z - shift) · scale."""
    check_latent_scale(dev, dev_pipeline)


def test_a_missing_shift_of_latents_would_be_seen(
    dev: Flux1, dev_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents that are only scaled fail the check."""
    monkeypatch.setattr(dev._codec, "_shift", 0.0)
    with pytest.raises(AssertionError):
        check_latent_scale(dev, dev_pipeline)


def test_a_shift_after_scaling_would_be_seen(dev: Flux1, dev_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents that are scaled first and shifted then fail the check."""
    monkeypatch.setattr(dev._codec, "_shift", dev._codec._shift / dev._codec._scale)
    with pytest.raises(AssertionError):
        check_latent_scale(dev, dev_pipeline)


def test_every_row_has_its_own_share_of_noise(dev: Flux1) -> None:
    """What a row is noised with is what the transformer is told for it."""
    check_row_sigmas(dev)


def test_one_share_for_all_rows_would_be_seen(dev: Flux1, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noising every row with the first row's share fails the check."""
    right = flow.add_noise
    monkeypatch.setattr(flow, "add_noise", lambda x, n, sigmas: right(x, n, sigmas[:1].expand_as(sigmas)))
    with pytest.raises(AssertionError):
        check_row_sigmas(dev)


def test_shares_of_noise_are_shifted(both: tuple[Flux1, Any]) -> None:
    """By size for dev and not at all for schnell, as each one's scheduler does."""
    check_shift(*both)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(flow.Shift(is_dynamic=False), id="no shift"),
        pytest.param(flow.Shift(is_dynamic=False, fixed=3.0), id="the fixed shift of the config"),
        pytest.param(flow.Shift(is_dynamic=True, base_tokens=1024, max_tokens=16384), id="latents for tokens"),
    ],
)
def test_a_wrong_shift_would_be_seen(
    dev: Flux1, dev_pipeline: Any, monkeypatch: pytest.MonkeyPatch, fault: flow.Shift
) -> None:
    """The check fails with other shifts."""
    monkeypatch.setattr(dev, "shift", fault)
    with pytest.raises(AssertionError):
        check_shift(dev, dev_pipeline)


def test_the_target_is_the_velocity(dev: Flux1) -> None:
    """Noise minus picture."""
    check_target(dev)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(lambda x, n: x - n, id="the sign"), pytest.param(lambda x, n: n + 0 * x, id="the noise itself")],
)
def test_a_wrong_target_would_be_seen(dev: Flux1, monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    """The check fails with other targets."""
    monkeypatch.setattr(flow, "find_target", fault)
    with pytest.raises(AssertionError):
        check_target(dev)


def test_training_knows_no_guidance(dev: Flux1) -> None:
    """1 in training, what is asked for in samples."""
    check_guidance(dev)


def test_guidance_in_training_would_be_seen(dev: Flux1, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with the guidance of samples fails the check."""
    monkeypatch.setattr(flux, "TRAINING_GUIDANCE", 3.5)
    with pytest.raises(AssertionError):
        check_guidance(dev)


def test_schnell_is_told_no_guidance(schnell: Flux1) -> None:
    """Neither in training nor in samples."""
    assert [listen(schnell)["guidance"], listen(schnell, guidance=3.5)["guidance"]] == [None, None]


def test_negative_prompts_are_not_even_encoded(dev: Flux1) -> None:
    """Guidance is a number that dev is told: nothing leads away from a text."""

    def refuse(texts: Sequence[str]) -> Conditions:
        raise AssertionError(texts)

    assert encode_negative(dev, refuse, "ugly") == {}


def test_drawn_shares_are_spread_as_said(schnell: Flux1) -> None:
    """Without a shift half of the shares lie below 1/2, and two thirds within a deviation: a logit-normal spread."""
    shape = torch.Size((16, 8, 8))
    drawn = torch.stack([schnell.draw_timestep(torch.Generator().manual_seed(s), shape) for s in range(2000)])
    within = (drawn.logit().abs() < 1).float().mean()
    assert float((drawn < 0.5).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float(within) == pytest.approx(0.683, abs=0.04)
    assert 0 < float(drawn.min()) < float(drawn.max()) < 1


def test_the_grid_is_in_the_middle_of_equal_spans(dev: Flux1) -> None:
    """Eight shares of noise to measure at: sixteenths, the odd ones."""
    assert dev.grid(8).tolist() == [k / 16 for k in range(1, 16, 2)]


def test_all_shares_weigh_alike(dev: Flux1) -> None:
    """Min-SNR has no meaning for a flow."""
    assert dev.weigh(SIGMAS, 5.0).tolist() == [1, 1]


def test_long_texts_are_counted_for_t5(dev: Flux1, schnell: Flux1) -> None:
    """T5 decides what is read: 511 or 255 tokens and the end."""
    assert (dev.count_tokens("a red teapot"), schnell.count_tokens("a red teapot")) == ((3, 511), (3, 255))
