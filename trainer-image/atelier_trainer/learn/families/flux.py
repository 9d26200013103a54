"""FLUX.1: a transformer that flows from noise to picture, told of a text by T5, and by CLIP in one vector.

Two kinds are published. *dev* is distilled from guidance: it is told a strength as one more number, and there is no
negative prompt. Training tells it 1, at which it answers as the model it was distilled from did without guidance;
samples tell it what the user asks for. *schnell* knows no guidance, reads half as many tokens, and its noise is not
shifted.

Latents are shifted and scaled, (z - shift) · scale: without the shift every picture is seen through a haze that the
denoiser has never met. They are read in patches of 2 x 2 as one row of tokens. Min-SNR weights do not apply: a flow's
target is of one size at every share of noise.

Loading: encoders and VAE at once, the transformer in the background when it is told to: after T5 rests, which has 9.5
GB in half precision and comes to the device with the first text. Knows neither methods nor data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Generator, Size, Tensor, nn
from transformers import T5EncoderModel, T5Tokenizer

from atelier_contract.architectures import Architecture
from atelier_contract.tuning import Quantization
from atelier_trainer.learn import flow
from atelier_trainer.learn.families.base import POOLED, TEXT, Conditions, Encoder, Pause, Posterior, SamplerSettings
from atelier_trainer.learn.families.clip import load_clip, read_pooled
from atelier_trainer.learn.families.codec import Codec
from atelier_trainer.learn.families.loading import (
    DiffusersFolder,
    silence_progress_bars,
    translate_refusals,
)
from atelier_trainer.learn.families.parts import Part, freeze, rest_parts
from atelier_trainer.learn.transfers import move_to

CLIP, T5 = "text_encoder", "text_encoder_2"
"""Names of the encoders."""
PATCH = 2
"""Latents on a side of a token."""
DEV_TOKENS, SCHNELL_TOKENS = 512, 256
"""T5 tokens that each kind was trained with: the published model cards (`max_sequence_length`)."""
TRAINING_GUIDANCE = 1.0
"""What dev is told while it learns: no guidance, as the loss knows none."""


class Flux1:
    """A loaded base model. All parts are frozen; methods add what they train."""

    architecture = Architecture.FLUX_1
    prediction = "flow"
    without_negative: Literal["empty text", "zeros", "nothing"] = "nothing"

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        denoiser_dtype: torch.dtype,
        layout: str,  # noqa: ARG002 - nothing is convolved
        quantization: Quantization = "none",
    ) -> None:
        """Load the parts.

        Args:
            folder: checkpoint in the diffusers layout.
            device: where to compute.
            denoiser_dtype: number format of the transformer, and of T5, which would need 19 GB in float32.
            layout: without meaning here.
            quantization: bits of the transformer's frozen weights.

        Raises:
            BaseModelUnusable: a part other than the transformer is missing or not of this family.
        """
        self.device, self._dtype = device, denoiser_dtype
        silence_progress_bars()
        opened = DiffusersFolder(folder, quantization)
        with translate_refusals(self.architecture):
            tokenizer = opened.load_tokenizer("tokenizer_2", T5Tokenizer)
            t5 = Part[nn.Module](partial(opened.load_encoder, T5, T5EncoderModel, denoiser_dtype), device)
            self.encoders = {CLIP: load_clip(opened, CLIP, device), T5: Encoder(tokenizer, t5)}
            self._codec = Codec(opened.load_autoencoder, device)
            self.shift = read_shift(FlowMatchEulerDiscreteScheduler.from_config(opened.read_config("scheduler")).config)
            self.is_guided = bool(opened.read_config("transformer").get("guidance_embeds"))
            self._pending = opened.open_denoiser("transformer", FluxTransformer2DModel, denoiser_dtype, device)
        self.text_tokens = DEV_TOKENS if self.is_guided else SCHNELL_TOKENS
        self.latent_channels = self._codec.latent_channels
        self.pixels_per_latent = self._codec.pixels_per_latent
        self._positions: dict[tuple[int, int], Tensor] = {}

    def start_denoiser(self) -> None:
        """Begin to read the transformer in the background."""
        self._pending.start()

    @cached_property
    def denoiser(self) -> nn.Module:
        """The transformer, once it is read."""
        with translate_refusals(self.architecture):
            return freeze(self._pending.wait())

    def encode_picture(self, pixels: Tensor) -> Posterior:
        """Return the posterior of one picture [1, 3, H, W] in [-1, 1], shifted and scaled."""
        return self._codec.encode(pixels)

    def encode_prompts(self, texts: Sequence[str]) -> Conditions:
        """Return T5's states, [B, S, D], and CLIP's state where the text ends, [B, D].

        Padding is read like words, without a mask, as in the published pipeline and in training before it.
        """
        encoder = self.encoders[T5]
        tokens = encoder.tokenizer(
            list(texts), padding="max_length", max_length=self.text_tokens, truncation=True, return_tensors="pt"
        )
        with encoder.part.awake() as model:
            states = model(move_to(self.device, tokens.input_ids))[0]
        return {TEXT: states, POOLED: read_pooled(self.encoders[CLIP], texts, self.device)}

    def count_tokens(self, text: str) -> tuple[int, int]:
        """Return how many tokens a text has for T5, and how many are read, without the end."""
        return len(self.encoders[T5].tokenizer.tokenize(text)), self.text_tokens - 1

    def rest_text(self) -> None:
        """Let the text encoders leave memory."""
        rest_parts(*(encoder.part for encoder in self.encoders.values()))

    def rest_pictures(self) -> None:
        """Let the VAE leave memory."""
        rest_parts(self._codec.part)

    def draw_timestep(self, generator: Generator, latent_shape: Size) -> Tensor:
        """Draw a share of noise, shifted for the picture's size as drawing shifts it."""
        return flow.draw_sigma(generator, self._factor(latent_shape))

    def grid(self, count: int) -> Tensor:
        """Return the middles of `count` equal spans of the share of noise, [count] float32: 1/16, 3/16, … for eight."""
        return (torch.arange(count, dtype=torch.float32) + 0.5) / count

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return latents noised, each row to its own share."""
        return flow.add_noise(latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:  # noqa: ARG002 - the same at all
        """Return the velocity."""
        return flow.find_target(latents, noise)

    def weigh(self, timesteps: Tensor, gamma: float) -> Tensor:  # noqa: ARG002 - min-SNR has no meaning here
        """Return 1 for each row."""
        return torch.ones(timesteps.shape, dtype=torch.float32, device=timesteps.device)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Return the velocity that the transformer answers without guidance, in float32."""
        return self._answer(noisy, timesteps, conditions, TRAINING_GUIDANCE)

    @torch.no_grad()
    def sample(
        self,
        noise: Tensor,
        conditions: Conditions,
        negative: Conditions,  # noqa: ARG002 - read by families that are guided by it
        sampler: SamplerSettings,
        pause: Pause,
    ) -> Tensor:
        """Follow the flow from noise to picture in Euler steps; return pixels."""
        latents = noise.to(self.device)
        sigmas = flow.spread_sigmas(sampler.steps, self._factor(noise.shape)).to(self.device)
        for sigma, after in pairwise(sigmas):
            pause()
            velocity = self._answer(latents, sigma.expand(len(latents)), conditions, sampler.guidance)
            latents = latents + (after - sigma) * velocity
        return self._codec.decode(latents)

    def _answer(self, noisy: Tensor, sigmas: Tensor, conditions: Conditions, guidance: float) -> Tensor:
        """Return the transformer's answer as latents. It takes the share of noise itself, and multiplies by 1000."""
        states = conditions[TEXT].to(self._dtype)
        height, width = noisy.shape[-2], noisy.shape[-1]
        answer = self.denoiser(
            hidden_states=pack_latents(noisy.to(self._dtype)),
            encoder_hidden_states=states,
            pooled_projections=conditions[POOLED].to(self._dtype),
            timestep=sigmas,
            guidance=torch.full_like(sigmas, guidance) if self.is_guided else None,
            img_ids=self._read_positions(height // PATCH, width // PATCH),
            txt_ids=self._read_positions(0, states.shape[1]),
        ).sample
        return unpack_latents(torch.as_tensor(answer), height, width).float()

    def _factor(self, latent_shape: Size) -> float:
        return self.shift.factor(latent_shape[-2] // PATCH * (latent_shape[-1] // PATCH))

    def _read_positions(self, rows: int, columns: int) -> Tensor:
        """Return the place of every token of a picture, [rows · columns, 3]; with no rows, of a text, which has none.

        Kept by size: making them copies from the host, for which a step would have to wait.
        """
        if (rows, columns) not in self._positions:
            place = list_positions(rows, columns) if rows else torch.zeros(columns, 3)
            self._positions[rows, columns] = place.to(self.device, self._dtype)
        return self._positions[rows, columns]


def read_shift(config: Any) -> flow.Shift:
    """Return the shift that a scheduler's config tells."""
    return flow.Shift(
        is_dynamic=bool(config.use_dynamic_shifting),
        fixed=float(config.shift),
        base_shift=float(config.base_shift),
        max_shift=float(config.max_shift),
        base_tokens=int(config.base_image_seq_len),
        max_tokens=int(config.max_image_seq_len),
        is_exponential=config.time_shift_type == "exponential",
    )


def pack_latents(latents: Tensor) -> Tensor:
    """Return latents [B, C, H, W] as tokens [B, H/2 · W/2, 4C], row by row, channels outermost within a token."""
    batch, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // PATCH * (width // PATCH), channels * PATCH**2)


def unpack_latents(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens [B, H/2 · W/2, 4C] as latents [B, C, H, W]."""
    batch, _, values = tokens.shape
    channels = values // PATCH**2
    patches = tokens.view(batch, height // PATCH, width // PATCH, channels, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)


def list_positions(rows: int, columns: int) -> Tensor:
    """Return 0, row, column of each token, [rows · columns, 3] float32."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).view(-1, 3).float()
