"""The autoencoder: 64 px pictures to 16 x 16 latents of four channels and back (a factor of 4, not the usual 8).

In: drawings. Out: a diffusers `AutoencoderKL` whose config carries the measured scaling factor. First both halves learn
together; then the decoder alone is polished on latents that no longer move, while the denoiser may already be trained.

Legend: B batch, H W pixels, h w latents (H / 4, W / 4). Pictures are fp32 in [-1, 1].
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from tiny_base.pictures import SIDE_PX, Pixels, draw_captioned, draw_scribbles, stack_pixels
from tiny_base.training import Plan, Progress, set_rate, start_gently

PEAK_RATE = 2e-3
"""5e-3 was tried and is worse (L1 .32 against .22 at 160 steps)."""

EDGE_WEIGHT = 0.25
"""Weight of the difference of neighbouring pixels' differences: crisp outlines matter more than shades."""

KL_WEIGHT = 3e-5
"""Per latent position: keeps the latents near a unit Gaussian without paying for it in sharpness."""

FIRST_LOG_VARIANCE = -5.0
"""Start with hardly any noise in the latents, else the first hundred steps learn to ignore them."""

POLISH_NOISE = 0.03
"""Noise on the latents while the decoder is polished: the denoiser's are never exact either."""


def build_autoencoder() -> AutoencoderKL:
    """Build the untrained model, 173 711 parameters; two norm groups, since two channels a group lose flat colours."""
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=SIDE_PX,
    )
    start_gently(model)
    with torch.no_grad():
        model.quant_conv.bias[4:] = FIRST_LOG_VARIANCE
    return model


def train_autoencoder(plan: Plan, device: torch.device) -> AutoencoderKL:
    """Train both halves, measure the scaling factor and return the model on `device`."""
    torch.manual_seed(2)
    pixels = _gather_pixels("autoencoder", plan, device)
    model = build_autoencoder().to(device=device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0, fused=True)
    progress = Progress("autoencoder", plan.autoencoder_steps)
    for step in range(plan.autoencoder_steps):
        set_rate(optimiser, PEAK_RATE, step, plan.autoencoder_steps)
        rows = torch.randint(0, len(pixels), (plan.autoencoder_batch,), device=device)
        pictures = _turn_some(scale_pixels(pixels[rows]))
        posterior = model.encode(pictures).latent_dist
        rebuilt = model.decode(posterior.sample()).sample
        blocks = functional.avg_pool2d(rebuilt - pictures, 4).abs().mean()
        loss = measure_rebuilding(rebuilt, pictures) + 0.5 * blocks + KL_WEIGHT * posterior.kl().mean() / 256
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        progress.note(step, loss)
    _register_scaling(model, pixels)
    return model.to(memory_format=torch.contiguous_format).eval()


def polish_decoder(model: AutoencoderKL, plan: Plan, device: torch.device) -> AutoencoderKL:
    """Train the decoder alone on fixed latents, so that latents made before stay true; return the same model."""
    torch.manual_seed(4)
    pixels = _gather_pixels("polish", plan, device)
    model = model.to(device=device)
    latents = encode_pixels(model, pixels)
    model.to(memory_format=torch.channels_last)
    trained = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    optimiser = torch.optim.AdamW(trained, weight_decay=0.0, fused=True)
    progress = Progress("polish", plan.polish_steps)
    for step in range(plan.polish_steps):
        set_rate(optimiser, PEAK_RATE, step, plan.polish_steps, warmup_steps=100)
        rows = torch.randint(0, len(pixels), (plan.polish_batch,), device=device)
        noisy = latents[rows] + POLISH_NOISE * torch.randn_like(latents[rows])
        rebuilt = model.decode(noisy.contiguous(memory_format=torch.channels_last)).sample
        loss = measure_rebuilding(rebuilt, scale_pixels(pixels[rows]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        progress.note(step, loss)
    return model.to(memory_format=torch.contiguous_format).eval()


def measure_rebuilding(rebuilt: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Loss of rebuilt pictures [B, 3, H, W]: mean difference, half the mean square, and the edges'."""
    error = rebuilt - pictures
    edges = error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
    return error.abs().mean() + 0.5 * error.square().mean() + EDGE_WEIGHT * edges


def scale_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """Turn uint8 [B, 3, H, W] into fp32 in [-1, 1], channels last in memory."""
    return (pixels.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def encode_pixels(model: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Encode uint8 [N, 3, H, W] to posterior means fp32 [N, 4, h, w], not yet scaled."""
    return torch.cat([model.encode(scale_pixels(rows)).latent_dist.mean for rows in pixels.split(100)])


def _gather_pixels(seed: str, plan: Plan, device: torch.device) -> torch.Tensor:
    """Draw a quarter of the plan's figures, and its scribbles, as uint8 [N, 3, H, W]."""
    figures = [example.picture for example in draw_captioned(seed, plan.pictures // 4)]
    drawn: Pixels = stack_pixels([*figures, *draw_scribbles(seed, plan.scribbles)])
    return torch.from_numpy(drawn).to(device)


def _turn_some(pictures: torch.Tensor) -> torch.Tensor:
    """Mirror the batch in half of the cases, and swap its axes in half: eight views of every drawing."""
    mirrored, swapped = torch.rand(2).tolist()
    if mirrored < 0.5:
        pictures = pictures.flip(3)
    if swapped < 0.5:
        pictures = pictures.transpose(2, 3)
    return pictures.contiguous(memory_format=torch.channels_last)


def _register_scaling(model: AutoencoderKL, pixels: torch.Tensor) -> None:
    """Set the scaling factor that gives latents a standard deviation of one, as in latent diffusion."""
    deviation = encode_pixels(model, pixels[:1024]).std()
    model.register_to_config(scaling_factor=round(1.0 / float(deviation), 5))
