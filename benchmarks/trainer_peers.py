"""The other side of the trainer's benchmark: what the public diffusers examples document, written anew.

Two examples as users run them, in which pictures and prompts are encoded in every step: LoRA on the attention of the
denoiser, and textual inversion, which gives the whole token table to the optimiser and puts back every row but the new
ones after each step. And a plain loop with peft's adapters, everything encoded beforehand: the step alone. All three
use the fused AdamW, which the examples themselves do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from trainer_pace import Finished, Pace, Task
from transformers import CLIPTextModel, CLIPTokenizer

from atelier_trainer.learn.captions import PHRASINGS

ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]
"""What the LoRA example adapts."""
WEIGHT_DECAY = 1e-2
MOST_NORM = 1.0
"""Defaults of the examples."""
LORA_FILE = "pytorch_lora_weights.safetensors"
EMBEDDING_FILE = "learned_embeds.safetensors"


class Parts:
    """The parts of a Stable Diffusion 1 folder, frozen, each loaded by its own class as the examples do."""

    def __init__(self, task: Task) -> None:
        folder = task.base_model
        self.noising = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
        self.vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        for part in (self.text_encoder, self.vae, self.unet):
            part.requires_grad_(requires_grad=False)

    def tokenize(self, text: str) -> Tensor:
        """Return the ids of a text, padded to the encoder's length, [S]."""
        tokens = self.tokenizer(
            text,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return tokens.input_ids[0]

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Return one sample of the posteriors of pictures [B, 3, H, W], scaled."""
        return self.vae.encode(pixels).latent_dist.sample() * self.vae.config.scaling_factor

    def compute_loss(self, unet: Any, latents: Tensor, states: Tensor) -> Tensor:
        """Return the loss of fresh noise at fresh timesteps."""
        noise = torch.randn_like(latents)
        timesteps = torch.randint(self.noising.config.num_train_timesteps, (len(latents),), device=latents.device)
        noisy = self.noising.add_noise(latents, noise, timesteps)
        answer = unet(noisy, timesteps, states, return_dict=False)[0]
        return functional.mse_loss(answer.float(), noise.float(), reduction="mean")


class Pictures(Dataset[dict[str, Tensor]]):
    """Pictures with their texts, read and tokenized whenever they are shown."""

    def __init__(self, task: Task, parts: Parts, word: Callable[[str], str]) -> None:
        self._task, self._parts, self._word = task, parts, word

    def __len__(self) -> int:
        return len(self._task.pictures)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return pixels [3, H, W] in [-1, 1] and token ids [S]."""
        picture = self._task.pictures[index]
        ids = self._parts.tokenize(self._word(picture.caption))
        return {"pixel_values": read_square(picture.path, self._task.resolution_px), "input_ids": ids}


def read_square(path: Any, side_px: int) -> Tensor:
    """Return a square picture resized to a side, [3, H, W] in [-1, 1]."""
    with Image.open(path) as picture:
        resized = picture.convert("RGB").resize((side_px, side_px), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized, dtype=np.uint8)).permute(2, 0, 1)
    return (pixels.to(torch.float32) / 255 - 0.5) / 0.5


def build_loader(task: Task, parts: Parts, word: Callable[[str], str]) -> DataLoader[dict[str, Tensor]]:
    """Return shuffled batches, read in the training process: the examples' own default."""
    return DataLoader(Pictures(task, parts, word), shuffle=True, batch_size=task.batch_size)


def repeat(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield batches epoch after epoch."""
    while True:
        yield from loader


def build_adamw(parameters: list[Any], task: Task) -> torch.optim.AdamW:
    """Return the optimiser of both sides."""
    return torch.optim.AdamW(parameters, lr=task.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)


def add_lora(model: Any, rank: int, targets: list[str], begin: Any = True) -> list[Any]:
    """Add peft's adapters to a denoiser, begun as peft does unless told otherwise, and return what is trained."""
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=begin, target_modules=targets)
    model.add_adapter(config)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def run_lora_example(task: Task, pace: Pace) -> Finished:
    """Train adapters as the text-to-image LoRA example does."""
    accelerator = Accelerator(gradient_accumulation_steps=1)
    set_seed(task.seed)
    parts = Parts(task)
    trained = add_lora(parts.unet, task.rank, ATTENTION, "gaussian")
    optimizer = build_adamw(trained, task)
    rates = get_scheduler("constant", optimizer=optimizer)
    loader = build_loader(task, parts, lambda caption: caption)
    unet, optimizer, loader, rates = accelerator.prepare(parts.unet, optimizer, loader, rates)
    unet.train()
    losses = []
    for batch in repeat(loader):
        pace.pass_step()
        if pace.finished:
            break
        with accelerator.accumulate(unet):
            latents = parts.encode_pixels(batch["pixel_values"])
            states = parts.text_encoder(batch["input_ids"], return_dict=False)[0]
            loss = parts.compute_loss(unet, latents, states)
            losses.append(accelerator.gather(loss.repeat(task.batch_size)).mean().item())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(trained, MOST_NORM)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
    return finish_lora(task, pace, accelerator.unwrap_model(unet), trained)


def finish_lora(task: Task, pace: Pace, unet: Any, trained: list[Any]) -> Finished:
    """Write adapters as the examples do."""
    tensors = {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(task.scratch, unet_lora_layers=tensors, safe_serialization=True)
    return Finished(pace.steps, task.scratch / LORA_FILE, sum(p.numel() for p in trained))


def run_inversion_example(task: Task, pace: Pace) -> Finished:
    """Train new words as the textual inversion example does: the whole table learns, and is put back but for them."""
    accelerator = Accelerator(gradient_accumulation_steps=1)
    set_seed(task.seed)
    parts = Parts(task)
    new_ids = add_words(parts, task)
    table = parts.text_encoder.get_input_embeddings()
    table.weight.requires_grad_(requires_grad=True)
    optimizer = build_adamw(list(table.parameters()), task)
    rates = get_scheduler("constant", optimizer=optimizer)
    words = " ".join(parts.tokenizer.convert_ids_to_tokens(new_ids))
    drawn = random.Random(task.seed)
    loader = build_loader(task, parts, lambda _: drawn.choice(PHRASINGS).format(words))
    encoder, optimizer, loader, rates = accelerator.prepare(parts.text_encoder, optimizer, loader, rates)
    before = table.weight.data.clone()
    encoder.train()
    losses = []
    for batch in repeat(loader):
        pace.pass_step()
        if pace.finished:
            break
        with accelerator.accumulate(encoder):
            latents = parts.encode_pixels(batch["pixel_values"]).detach()
            states = encoder(batch["input_ids"])[0]
            loss = parts.compute_loss(parts.unet, latents, states)
            accelerator.backward(loss)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
            kept = torch.ones(len(table.weight), dtype=torch.bool)
            kept[min(new_ids) : max(new_ids) + 1] = False
            with torch.no_grad():
                table.weight[kept] = before[kept]
            losses.append(loss.detach().item())
    rows = table.weight.detach()[min(new_ids) : max(new_ids) + 1].clone().contiguous()
    save_file({task.placeholder: rows}, task.scratch / EMBEDDING_FILE)
    return Finished(pace.steps, task.scratch / EMBEDDING_FILE, rows.numel())


def add_words(parts: Parts, task: Task) -> list[int]:
    """Teach tokenizer and encoder the new words, each a copy of the initial one, and return their ids."""
    words = [task.placeholder, *(f"{task.placeholder}_{number}" for number in range(1, task.vectors))]
    parts.tokenizer.add_tokens(words)
    ids: list[int] = parts.tokenizer.convert_tokens_to_ids(words)
    (initial,) = parts.tokenizer.encode(task.initial_word, add_special_tokens=False)
    parts.text_encoder.resize_token_embeddings(len(parts.tokenizer), mean_resizing=False)
    weight = parts.text_encoder.get_input_embeddings().weight.data
    for number in ids:
        weight[number] = weight[initial].clone()
    parts.text_encoder.requires_grad_(requires_grad=False)
    return ids
