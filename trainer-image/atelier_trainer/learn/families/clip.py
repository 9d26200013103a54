"""CLIP text encoders, which every family has: what they read of a text, and what they say of it.

In: texts. Out: states of tokens and vectors of texts. Knows no family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from atelier_trainer.learn.families.base import Encoder
from atelier_trainer.learn.families.loading import DiffusersFolder
from atelier_trainer.learn.families.parts import Part
from atelier_trainer.learn.transfers import move_to

MARKS = 2
"""Start and end, which a text of any length has."""


def load_clip(folder: DiffusersFolder, name: str, device: torch.device, *, is_projected: bool = False) -> Encoder:
    """Load a text encoder in float32 with its tokenizer (`tokenizer…` beside `text_encoder…`).

    Old configs say that texts end with token 2, and are then read as ending where the highest token is. That is right
    until a token is added, as embeddings do: the end is therefore looked for by the tokenizer's own name of it.
    """
    kind = CLIPTextModelWithProjection if is_projected else CLIPTextModel
    tokenizer = folder.load_tokenizer(name.replace("text_encoder", "tokenizer"), CLIPTokenizer)
    eos_token_id = tokenizer.eos_token_id

    def load() -> nn.Module:
        model: nn.Module = folder.load_encoder(name, kind, torch.float32)
        text_model: Any = model.text_model if is_projected else model
        text_model.eos_token_id = eos_token_id
        return model

    return Encoder(tokenizer, Part(load, device))


def read_states(encoder: Encoder, texts: Sequence[str], device: torch.device) -> Tensor:
    """Return the last layer's states, [B, S, D]."""
    with encoder.part.awake() as model:
        return torch.as_tensor(model(tokenize(encoder, texts, device))[0])


def read_penultimate(encoder: Encoder, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the last but one layer's states, [B, S, D], and the model's first answer (a projection has it pooled)."""
    with encoder.part.awake() as model:
        answer = model(tokenize(encoder, texts, device), output_hidden_states=True)
    return torch.as_tensor(answer.hidden_states[-2]), torch.as_tensor(answer[0])


def read_pooled(encoder: Encoder, texts: Sequence[str], device: torch.device) -> Tensor:
    """Return the last layer's state where the text ends, [B, D]."""
    with encoder.part.awake() as model:
        return torch.as_tensor(model(tokenize(encoder, texts, device)).pooler_output)


def tokenize(encoder: Encoder, texts: Sequence[str], device: torch.device) -> Tensor:
    """Return the tokens of texts, padded or cut to the encoder's length: [B, S] int64."""
    tokens = encoder.tokenizer(
        list(texts),
        padding="max_length",
        max_length=encoder.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return move_to(device, tokens.input_ids)


def count_tokens(encoder: Encoder, text: str) -> tuple[int, int]:
    """Return how many tokens a text has and how many the encoder reads, without start and end."""
    return len(encoder.tokenizer.tokenize(text)), int(encoder.tokenizer.model_max_length) - MARKS
