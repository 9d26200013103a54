"""The objective against closed forms: errors, weights, masks, prior rows, and that the losses of parts add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atelier_contract.settings import Settings
from atelier_trainer.learn.assembly import Batch
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.objective import compute_loss, measure_errors
from learning import build_settings
from learning_results import build_on, load_family

PRIOR = {"conceptModel": {"prior": {"weight": 0.5, "pictures": 4, "prompt": "a pot"}}}
ROWS, SHAPE = 4, (4, 2, 2)


class PlainFamily:
    """A family whose model answers with a multiple of what it sees, and whose target is the noise."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.denoiser = nn.Identity()
        self.factor = torch.tensor(0.5, requires_grad=True)

    def add_noise(self, latents: Tensor, noise: Tensor, _timesteps: Tensor) -> Tensor:
        return latents + noise

    def target(self, _latents: Tensor, noise: Tensor, _timesteps: Tensor) -> Tensor:
        return noise

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:
        return 1 + timesteps * gamma

    def predict(self, noisy: Tensor, _timesteps: Tensor, _conditions: object) -> Tensor:
        return noisy * self.factor


def a_batch(**changes: Any) -> Batch:
    """Return a batch of four rows with fixed numbers."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn((ROWS, *SHAPE), generator=generator) for _ in range(2))
    batch = Batch(
        latents, noise, torch.arange(float(ROWS)), [""] * ROWS, row_weights=torch.ones(ROWS), mask_total=float(ROWS)
    )
    return replace(batch, **changes)


def loss_of(batch: Batch, settings: Settings, family: Any = None) -> Tensor:
    """Return the loss of a part under the plain family."""
    return compute_loss(family or PlainFamily(), PlainFamily(), batch, {}, settings)


def squares_of(batch: Batch) -> Tensor:
    """Return the plain family's squared errors, [B, C, H, W]."""
    return ((batch.latents + batch.noise) * 0.5 - batch.noise).square()


def test_plain_loss_is_the_weighted_mean() -> None:
    """Without masks and prior rows the loss is the mean over rows of weight times mean squared error, to the bit."""
    batch = a_batch()
    expected = (squares_of(batch).mean(dim=(1, 2, 3)) * (1 + batch.timesteps * 5)).sum() / ROWS
    assert torch.equal(loss_of(batch, build_settings(snrGamma=5)), expected)


def test_plain_gradient_is_that_of_the_square() -> None:
    """The fused error gives the same bits of gradient as a subtraction and a square."""
    family, batch = PlainFamily(), a_batch()
    loss_of(batch, build_settings(snrGamma=0), family).backward()
    factor = torch.tensor(0.5, requires_grad=True)
    ((batch.latents + batch.noise) * factor - batch.noise).square().mean(dim=(1, 2, 3)).sum().div(ROWS).backward()
    assert factor.grad is not None
    assert torch.equal(family.factor.grad, factor.grad)


@pytest.mark.parametrize(("error", "loss"), [(0.05, 0.0025), (-0.1, 0.01), (0.3, 0.05), (-2.0, 0.39)])
def test_huber_is_the_square_below_delta_and_a_line_above(error: float, loss: float) -> None:
    """With δ = 0.1: e² up to 0.1, beyond it 0.2 |e| - 0.01."""
    settings = build_settings(loss="huber", huberDelta=0.1)
    found = measure_errors(torch.tensor([error]), torch.zeros(1), settings)
    assert found.item() == pytest.approx(loss)


def test_mse_is_the_square() -> None:
    """The default measures squares, however large the error."""
    assert measure_errors(torch.tensor([-3.0]), torch.zeros(1), build_settings()).item() == 9.0


def test_masks_are_divided_by_their_sum() -> None:
    """Half of the picture at a tenth, half in full: each place counts by its mask, and the sum of masks divides."""
    mask = torch.tensor([[0.1, 0.1], [1.0, 1.0]]).expand(ROWS, 1, 2, 2)
    batch = a_batch(masks=mask, mask_total=ROWS * 0.55)
    squares = squares_of(batch)
    expected = (squares * mask).sum() / (mask.sum() * SHAPE[0])
    assert loss_of(batch, build_settings(snrGamma=0)).item() == pytest.approx(expected.item())


def test_a_white_mask_changes_nothing() -> None:
    """A mask that is white everywhere is no mask, to the bit."""
    plain, masked = a_batch(), a_batch(masks=torch.ones(ROWS, 1, 2, 2))
    assert torch.equal(loss_of(plain, build_settings()), loss_of(masked, build_settings()))


def test_a_row_without_weight_does_not_count() -> None:
    """A row that only fills a shape adds nothing, whatever is in it."""
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0])
    batch = a_batch(row_weights=weights, mask_total=3.0)
    other = replace(batch, latents=torch.cat([batch.latents[:3], batch.latents[3:] * 100]))
    assert torch.equal(loss_of(batch, build_settings()), loss_of(other, build_settings()))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_losses_of_parts_add_up(size: int) -> None:
    """Micro-batches and ranks: the losses of the parts sum to the whole's, with masks and prior rows too."""
    batch = a_batch(
        masks=torch.rand((ROWS, 1, 2, 2), generator=torch.Generator().manual_seed(1)), mask_total=1.3, prior_rows=2,
        prior_total=2,
    )  # fmt: skip
    settings = build_settings(**PRIOR)
    parts = [loss_of(part, settings) for _, part in batch.split(size)]
    assert torch.stack(parts).sum().item() == pytest.approx(loss_of(batch, settings).item(), rel=1e-6)


def test_prior_rows_measure_what_training_changed() -> None:
    """Their target is the base model's answer: fresh adapters have no prior loss, changed ones the change's square."""
    family = load_family()
    settings = build_settings(snrGamma=0, **PRIOR)
    method = build_on(family, settings)
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn((2, 4, 8, 8), generator=generator) for _ in range(2))
    batch = Batch(
        latents, noise, torch.tensor([200, 700]), ["a pot", "a cup"], torch.ones(2), mask_total=0.0, prior_rows=2,
        prior_total=2,
    )  # fmt: skip
    conditions = family.encode_prompts(batch.texts)
    with torch.no_grad():
        before = family.predict(family.add_noise(latents, noise, batch.timesteps), batch.timesteps, conditions)
    assert compute_loss(family, method, batch, conditions, settings).item() == 0
    _move(method, 0.05)
    with torch.no_grad():
        after = family.predict(family.add_noise(latents, noise, batch.timesteps), batch.timesteps, conditions)
    expected = 0.5 * (after - before).square().mean()
    assert expected > 0
    assert compute_loss(family, method, batch, conditions, settings).item() == pytest.approx(expected.item(), rel=1e-5)


def test_prior_target_is_the_base_text_encoders_too() -> None:
    """Where the text encoder learns, the target comes from the text as the base model reads it."""
    family = load_family()
    prior = {**PRIOR["conceptModel"], "textEncoderLearningRate": 1e-3}
    settings = build_settings(snrGamma=0, conceptModel=prior)
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    time = torch.tensor([500])
    with torch.no_grad():
        base = family.predict(family.add_noise(latents, latents, time), time, family.encode_prompts(["a pot"]))
    method = build_on(family, settings)
    _move(method, 0.05)
    batch = Batch(latents, latents, time, ["a pot"], torch.ones(1), mask_total=0.0, prior_rows=1, prior_total=1)
    conditions = family.encode_prompts(batch.texts)
    with torch.no_grad():
        answer = family.predict(family.add_noise(latents, latents, time), time, conditions)
    expected = 0.5 * (answer - base).square().mean().item()
    assert compute_loss(family, method, batch, conditions, settings).item() == pytest.approx(expected, rel=1e-5)


def _move(method: Any, distance: float) -> None:
    """Change everything that is trained by normal numbers."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in method.named_parameters().values():
            tensor.add_(distance * torch.randn(tensor.shape, generator=generator))
    for flat in method.flat_parameters():
        flat.refresh()


def test_noise_offset_moves_whole_channels() -> None:
    """With an offset the noise is that without it plus one number a channel, drawn for its own purpose."""
    draws, shape = Draws(7), torch.Size((4, 8, 8))
    plain, moved = draws.noise(shape, 0.0, 3, 1), draws.noise(shape, 0.25, 3, 1)
    difference = moved - plain
    torch.testing.assert_close(difference, difference[:, :1, :1].expand(shape))
    expected = 0.25 * draws.normal(torch.Size((4, 1, 1)), "noise offset", 3, 1)
    torch.testing.assert_close(difference[:, :1, :1], expected)
    assert torch.equal(plain, draws.normal(shape, "noise", 3, 1))


def test_noise_offset_adds_its_square_to_the_channels_mean() -> None:
    """Over many pictures a channel's mean has variance 1 / pixels + offset², which is what lets a mean be learned."""
    draws, shape = Draws(0), torch.Size((4, 8, 8))
    means = torch.stack([draws.noise(shape, 0.5, step, 0).mean(dim=(1, 2)) for step in range(2000)])
    assert means.var().item() == pytest.approx(1 / 64 + 0.25, rel=0.05)
