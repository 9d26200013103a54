"""The denoiser: a Stable-Diffusion-1-shaped UNet of 2.3 million parameters, taught to predict the noise.

In: the frozen autoencoder and text encoder, drawings with captions. Out: a `UNet2DConditionModel` whose weights are the
running mean of the trained ones.

Legend: B batch, N examples, S tokens, D hidden (768), h w latents. Latents are scaled to unit deviation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from tiny_base.autoencoder import encode_pixels
from tiny_base.pictures import draw_captioned, stack_pixels
from tiny_base.text_encoder import HIDDEN, SHORT_LENGTH, read_tokens
from tiny_base.training import Plan, Progress, set_rate, start_gently

PEAK_RATE = 1.2e-3
BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.01
SHARE_WITHOUT_CAPTION = 0.1
"""Guidance needs the empty caption (classifier-free guidance, arXiv 2207.12598)."""

SNR_GAMMA = 5.0
"""Min-SNR weighting with its authors' value (arXiv 2303.09556)."""

MEAN_KEPT = 0.999
"""Share of the running mean of weights that a step keeps, once the first thousand steps are over."""

SHARE_FULL_LENGTH, SHARE_FULL_LENGTH_LATE, LATE = 0.15, 0.5, 0.85
"""Steps that attend to all 77 tokens, before and after this share of the training; the others see the short length."""


@dataclass(frozen=True)
class Examples:
    """All the denoiser learns from, encoded once."""

    latents: torch.Tensor
    """fp32 [N, 4, h, w], scaled."""
    states: torch.Tensor
    """fp16 [N + 1, S, D]; the last row is the empty caption's."""


def build_denoiser() -> UNet2DConditionModel:
    """Build the untrained model; attention at 8 x 8 and 4 x 4 alone halves the time of a step."""
    model = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=HIDDEN,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    start_gently(model)
    torch.nn.init.zeros_(model.conv_out.weight)
    return model


def build_scheduler() -> DDIMScheduler:
    """Build the noise schedule of Stable Diffusion 1.5's own configuration."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


@torch.no_grad()
def encode_examples(
    autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, plan: Plan, device: torch.device
) -> Examples:
    """Draw the plan's pictures and encode them and their captions."""
    drawn = draw_captioned("denoiser", plan.pictures)
    pixels = torch.from_numpy(stack_pixels([example.picture for example in drawn])).to(device)
    latents = encode_pixels(autoencoder, pixels) * autoencoder.config.scaling_factor
    tokens = read_tokens(tokenizer, [*(example.caption.text for example in drawn), ""])
    states = [text_encoder(rows.to(device)).last_hidden_state.half() for rows in tokens.split(64)]
    return Examples(latents, torch.cat(states))


def train_denoiser(examples: Examples, plan: Plan, device: torch.device) -> UNet2DConditionModel:
    """Train the denoiser and return the running mean of its weights, on `device`."""
    torch.manual_seed(3)
    model = build_denoiser().to(device=device, memory_format=torch.channels_last)
    mean = copy.deepcopy(model).requires_grad_(False)
    signal = build_scheduler().alphas_cumprod.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    progress = Progress("denoiser", plan.denoiser_steps)
    for step in range(plan.denoiser_steps):
        set_rate(optimiser, PEAK_RATE, step, plan.denoiser_steps, warmup_steps=100)
        clean, states = _choose_rows(examples, plan, step)
        times = _spread_times(len(clean), device)
        share = signal[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(clean)
        noisy = (share.sqrt() * clean + (1 - share).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        predicted = model(noisy, times, encoder_hidden_states=states).sample
        weights = (SNR_GAMMA * (1 - share) / share).clamp(max=1.0)
        loss = (weights * (predicted - noise).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        kept = min(MEAN_KEPT, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(mean.parameters()), [p.data for p in model.parameters()], 1 - kept)
        progress.note(step, loss)
    return mean.to(memory_format=torch.contiguous_format).eval()


def _choose_rows(examples: Examples, plan: Plan, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a batch: latents [B, 4, h, w] and states [B, S, D], some of them the empty caption's."""
    empty = len(examples.latents)
    rows = torch.randint(0, empty, (plan.denoiser_batch,))
    captions = torch.where(torch.rand(len(rows)) < SHARE_WITHOUT_CAPTION, empty, rows)
    share_full = SHARE_FULL_LENGTH_LATE if step >= LATE * plan.denoiser_steps else SHARE_FULL_LENGTH
    length = examples.states.shape[1] if float(torch.rand(())) < share_full else SHORT_LENGTH
    device = examples.latents.device
    return examples.latents[rows.to(device)], examples.states[captions.to(device), :length].float()


def _spread_times(count: int, device: torch.device) -> torch.Tensor:
    """Draw one timestep from each of `count` equal parts of [0, 1000): less chance in every batch."""
    places = (torch.arange(count) + torch.rand(count)) / count
    return (places * 1000).long().clamp(max=999).to(device)
