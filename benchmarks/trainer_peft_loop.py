"""The step alone on the other side: a plain loop with peft's adapters, latents and texts encoded before it begins.

No framework around it, the fused AdamW, one line a thing: the least that a careful user of diffusers and peft writes.
For all three families, so that the operations of a step can be compared for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional
from trainer_pace import Finished, Pace, Task
from trainer_peers import ATTENTION, MOST_NORM, add_lora, build_adamw, finish_lora, read_square

from atelier_contract.architectures import Architecture

Conditions = Mapping[str, Tensor]
FLUX_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
"""Attention of both streams; the single blocks have no output projection of their own."""
FLUX_GUIDANCE = 1.0
"""In training of the guidance-distilled model, as the FLUX example has it."""


class Cached:
    """Posteriors and texts of all pictures, in memory; the encoders are let go."""

    def __init__(self, task: Task, pipeline: Any) -> None:
        self.means: list[Tensor] = []
        self.deviations: list[Tensor] = []
        self.conditions: list[Conditions] = []
        vae = pipeline.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        with torch.no_grad():
            for picture in task.pictures:
                posterior = vae.encode(read_square(picture.path, task.resolution_px)[None]).latent_dist
                self.means.append((posterior.mean - shift) * vae.config.scaling_factor)
                self.deviations.append(posterior.std * vae.config.scaling_factor)
                self.conditions.append(encode_text(task, pipeline, picture.caption))

    def draw(self, indices: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return latents [B, C, H, W], drawn from the posteriors, and the texts' conditions."""
        means = torch.cat([self.means[index] for index in indices])
        deviations = torch.cat([self.deviations[index] for index in indices])
        rows = [self.conditions[index] for index in indices]
        return means + deviations * torch.randn_like(means), {
            name: torch.cat([row[name] for row in rows]) for name in rows[0]
        }


def encode_text(task: Task, pipeline: Any, text: str) -> Conditions:
    """Return the conditions of one text by the denoiser's own argument names, each [1, …]."""
    if task.architecture is Architecture.STABLE_DIFFUSION_1:
        states, _ = pipeline.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)
        return {"encoder_hidden_states": states}
    if task.architecture is Architecture.STABLE_DIFFUSION_XL:
        states, _, pooled, _ = pipeline.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
        side = float(task.resolution_px)
        return {
            "encoder_hidden_states": states,
            "text_embeds": pooled,
            "time_ids": torch.tensor([[side, side, 0.0, 0.0, side, side]]),
        }
    states, pooled, _ = pipeline.encode_prompt(text, prompt_2=None, device="cpu")
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


class Discrete:
    """The loss of Stable Diffusion 1 and XL."""

    targets = ATTENTION

    def __init__(self, pipeline: Any) -> None:
        self.denoiser: nn.Module = pipeline.unet
        self.noising = DDPMScheduler.from_config(pipeline.scheduler.config)

    def compute_loss(self, latents: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error of predicting fresh noise at fresh timesteps."""
        noise = torch.randn_like(latents)
        timesteps = torch.randint(self.noising.config.num_train_timesteps, (len(latents),))
        noisy = self.noising.add_noise(latents, noise, timesteps)
        states = conditions.pop("encoder_hidden_states")
        added = {"added_cond_kwargs": conditions} if conditions else {}
        answer = self.denoiser(noisy, timesteps, states, **added, return_dict=False)[0]
        return functional.mse_loss(answer.float(), noise.float())


class Flow:
    """The loss of FLUX.1."""

    targets = FLUX_ATTENTION

    def __init__(self, pipeline: Any) -> None:
        self.denoiser: nn.Module = pipeline.transformer

    def compute_loss(self, latents: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error of predicting the flow from pictures to fresh noise."""
        noise = torch.randn_like(latents)
        sigmas = torch.sigmoid(torch.randn(len(latents)))
        spread = sigmas.view(-1, 1, 1, 1)
        noisy = (1 - spread) * latents + spread * noise
        rows, columns = latents.shape[2] // 2, latents.shape[3] // 2
        places = torch.zeros(rows, columns, 3)
        places[..., 1] = places[..., 1] + torch.arange(rows)[:, None]
        places[..., 2] = places[..., 2] + torch.arange(columns)[None, :]
        answer = self.denoiser(
            hidden_states=_pack(noisy),
            timestep=sigmas,
            guidance=torch.full((len(latents),), FLUX_GUIDANCE),
            txt_ids=torch.zeros(conditions["encoder_hidden_states"].shape[1], 3),
            img_ids=places.reshape(rows * columns, 3),
            **conditions,
            return_dict=False,
        )[0]
        return functional.mse_loss(_unpack(answer, latents.shape).float(), (noise - latents).float())


def _pack(latents: Tensor) -> Tensor:
    """Return latents [B, C, H, W] as tokens of 2 x 2 places, [B, H/2 · W/2, 4C]."""
    batch, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, height * width // 4, 4 * channels)


def _unpack(tokens: Tensor, shape: torch.Size) -> Tensor:
    """Return tokens as latents again."""
    batch, channels, height, width = shape
    patches = tokens.view(batch, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(shape)


def run_peft_loop(task: Task, pace: Pace) -> Finished:
    """Train peft's adapters on what is encoded already."""
    torch.manual_seed(task.seed)
    pipeline = DiffusionPipeline.from_pretrained(task.base_model)
    cached = Cached(task, pipeline)
    kind = Flow if task.architecture is Architecture.FLUX_1 else Discrete
    objective = kind(pipeline)
    del pipeline
    denoiser = objective.denoiser.requires_grad_(requires_grad=False)
    trained = add_lora(denoiser, task.rank, kind.targets)
    optimizer = build_adamw(trained, task)
    denoiser.train()
    for indices in list_batches(len(task.pictures), task.batch_size):
        pace.pass_step()
        if pace.finished:
            break
        latents, conditions = cached.draw(indices)
        loss = objective.compute_loss(latents, conditions)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MOST_NORM)
        optimizer.step()
        optimizer.zero_grad()
    if kind is Flow:
        return Finished(pace.steps, task.scratch, sum(parameter.numel() for parameter in trained))
    return finish_lora(task, pace, denoiser, trained)


def list_batches(pictures: int, batch_size: int) -> Iterator[list[int]]:
    """Yield batches of picture indices, epoch after epoch, each in random order."""
    while True:
        order = torch.randperm(pictures).tolist()
        for first in range(0, pictures - batch_size + 1, batch_size):
            yield order[first : first + batch_size]
