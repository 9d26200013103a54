"""The text encoder: one CLIP layer, 768 wide, taught to know what a caption says, then frozen.

In: captions and their labels. Out: a `CLIPTextModel`. It learns by a task of its own: a linear head must tell the six
attributes (or that they are unsaid) from the end token and from any padding token, so that every token that the
denoiser attends to carries the whole caption. The head is thrown away.

Legend: B captions, S tokens, D hidden (768).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tiny_base.captions import ATTRIBUTES, Caption, choose_scene, describe_scene
from tiny_base.tokens import MAX_LENGTH
from tiny_base.training import Plan, Progress, set_rate

HIDDEN = 768
"""Stable Diffusion 1's width of cross attention, so that adapters and embeddings have its shapes."""

SHORT_LENGTH = 28
"""Room for all but one caption in a thousand; full length costs more and is needed only now and then."""

FULL_LENGTH_EVERY = 10
PEAK_RATE = 1e-3


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the untrained encoder, 3.3 million parameters."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=12,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=HIDDEN,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def train_text_encoder(tokenizer: CLIPTokenizer, plan: Plan, device: torch.device) -> CLIPTextModel:
    """Train the encoder on captions that are made up as it goes; return it on `device`."""
    torch.manual_seed(1)
    draws = random.Random("text encoder")
    model = build_text_encoder(tokenizer).to(device)
    head = nn.Linear(HIDDEN, sum(_class_counts())).to(device)
    optimiser = torch.optim.AdamW([*model.parameters(), *head.parameters()], weight_decay=0.01, fused=True)
    progress = Progress("text encoder", plan.text_steps, every_steps=50)
    for step in range(plan.text_steps):
        set_rate(optimiser, PEAK_RATE, step, plan.text_steps)
        captions = [describe_scene(choose_scene(draws), draws) for _ in range(plan.text_batch)]
        length = MAX_LENGTH if step % FULL_LENGTH_EVERY == 0 else SHORT_LENGTH
        tokens = read_tokens(tokenizer, [caption.text for caption in captions], length).to(device)
        loss = _measure_reading(head(_pick_ends(model(tokens).last_hidden_state, tokens, model)), captions)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress.note(step, loss)
    return model.eval()


def read_tokens(tokenizer: CLIPTokenizer, texts: Sequence[str], length: int = MAX_LENGTH) -> torch.Tensor:
    """Turn texts into int64 [B, S], padded or cut to `length`."""
    read = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    tokens: torch.Tensor = read.input_ids
    return tokens


def _class_counts() -> list[int]:
    """Classes of each attribute, 'unsaid' among them."""
    return [len(values) + 1 for values in ATTRIBUTES]


def _pick_ends(states: torch.Tensor, tokens: torch.Tensor, model: CLIPTextModel) -> torch.Tensor:
    """Pick the states of the first end token and of one random token after it: [B, S, D] to [2 B, D]."""
    first = (tokens == model.config.eos_token_id).int().argmax(dim=1)
    reach = torch.rand(len(first), device=first.device) * (tokens.shape[1] - first)
    rows = torch.arange(len(first), device=first.device)
    return torch.cat([states[rows, first], states[rows, first + reach.long()]])


def _measure_reading(answers: torch.Tensor, captions: Sequence[Caption]) -> torch.Tensor:
    """Sum of the attributes' cross entropies; `answers` [2 B, classes] holds each caption twice."""
    labels = torch.tensor([caption.label for caption in captions], device=answers.device).repeat(2, 1)
    parts = answers.split(_class_counts(), dim=1)
    return torch.stack([functional.cross_entropy(part, labels[:, place]) for place, part in enumerate(parts)]).sum()
