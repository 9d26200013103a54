"""What the denoiser is told of a text: encoded once where the encoder is frozen, in every step where it learns.

Frozen encodings are made one text at a time, so that no batch size decides a bit, and kept in memory. Knows a family
and a method by their protocols.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atelier_trainer.learn.families.base import Conditions, Family
from atelier_trainer.learn.methods.base import Method

MOST_KEPT = 8192
"""Texts kept: 1.9 GB at 77 x 768 float32. Beyond, a text is encoded whenever it is read."""


class PromptEncoder:
    """Turns texts into conditions for one family and method."""

    def __init__(self, family: Family, method: Method) -> None:
        self._family, self._method = family, method
        self._kept: dict[str, Conditions] = {}

    def encode(self, texts: Sequence[str]) -> Conditions:
        """Return the conditions of texts, [B, …] on the training device, with gradients where the encoder learns."""
        if self._method.has_live_text:
            return self._family.encode_prompts([self._method.rewrite(text) for text in texts])
        rows = [self._read(text) for text in texts]
        return {name: self._stack([row[name] for row in rows]) for name in rows[0]}

    def _read(self, text: str) -> Conditions:
        kept = self._kept.get(text)
        if kept is None:
            with torch.no_grad():
                encoded = self._family.encode_prompts([self._method.rewrite(text)])
            kept = {name: tensor.cpu() for name, tensor in encoded.items()}
            if len(self._kept) < MOST_KEPT:
                self._kept[text] = kept
        return kept

    def _stack(self, rows: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(rows)).to(self._family.device)
