"""What the denoiser is told of a text: encoded once where the encoders are frozen, in every step where one learns.

Frozen encodings are made one text at a time, so that no batch size decides a bit. They are kept in the dataset's cache,
and the first of them in memory. Where an encoder learns, nothing outlives the attempt; once it has stopped learning,
texts are kept in memory from then on.

In: texts. Out: conditions on the training device. Knows a family, a method and a cache by their protocols.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from atelier_trainer.learn.encodings import (
    EncodingKeys,
    MemoryCache,
    build_keys,
    read_conditions,
    write_conditions,
)
from atelier_trainer.learn.families.base import Conditions, Family, Pause
from atelier_trainer.learn.methods.base import TextSide
from atelier_trainer.learn.transfers import move_to
from atelier_trainer.records import Cache

log = logging.getLogger(__name__)
TEXTS_PER_LINE = 500
"""Of the log: seconds on a GPU, minutes on a processor."""
NEAR_BYTES = 2 << 30
"""Encodings held in memory: 9,000 texts of Stable Diffusion 1, 500 of FLUX.1. The others are read from the cache."""


class PromptEncoder:
    """Turns texts into conditions for one family and method."""

    def __init__(
        self, family: Family, method: TextSide, cache: Cache | None = None, keys: EncodingKeys | None = None
    ) -> None:
        """Keep texts in a cache under keys; without one, in memory."""
        self._family, self._method = family, method
        self._cache = cache if cache is not None else MemoryCache()
        self._keys = keys or build_keys({}, "")
        self._near: dict[str, Conditions] = {}
        self._near_bytes = 0

    def fill(self, texts: Sequence[str], pause: Pause) -> bool:
        """Encode what is not kept yet, where the encoders are frozen; return whether all texts have space.

        Where they have not, each is encoded whenever it is read and there is no place for it in memory.

        Raises:
            Interrupted: by `pause`. What was encoded is kept.
        """
        if self._method.has_live_text or not texts:
            return True
        self._cache.fetch("texts", {self._key(text) for text in texts})
        size_bytes = sum(tensor.nbytes for tensor in self._read(texts[0]).values())
        missing = [text for text in texts if self._cache.read("texts", self._key(text)) is None]
        if not self._cache.has_space(size_bytes * len(missing)):
            return False
        log.info("encoding %d texts; %d are kept already", len(missing), len(texts) - len(missing))
        try:
            for done, text in enumerate(missing):
                pause()
                if done and done % TEXTS_PER_LINE == 0:
                    log.info("%d of %d texts are encoded", done, len(missing))
                self._cache.write("texts", self._key(text), write_conditions(self._read(text)))
        finally:
            self._cache.flush()
        return True

    def encode(self, texts: Sequence[str], step: int | None = None) -> Conditions:
        """Return the conditions of texts, [B, …] on the training device, with gradients where an encoder learns.

        Args:
            texts: as pictures are worded.
            step: of training, steps done before it; None: texts are measured or drawn, and nothing is kept of encoders
                that learn.
        """
        if self._method.has_live_text and (step is None or self._method.learns_text_at(step)):
            return self._encode_live([self._method.rewrite(text) for text in texts])
        rows = [self._read(text) for text in texts]
        return {name: self._stack([row[name] for row in rows]) for name in rows[0]}

    def _read(self, text: str) -> Conditions:
        """Return a text's conditions on the CPU: from memory, from the cache, or from the encoder."""
        if (near := self._near.get(text)) is not None:
            return near
        is_frozen = not self._method.has_live_text
        kept = self._cache.read("texts", self._key(text)) if is_frozen else None
        found = self._encode(text) if kept is None else read_conditions(kept)
        size_bytes = sum(tensor.nbytes for tensor in found.values())
        if self._near_bytes + size_bytes <= NEAR_BYTES:
            self._near[text] = found
            self._near_bytes += size_bytes
        return found

    def _encode_live(self, texts: Sequence[str]) -> Conditions:
        """Encode each different text once, and let the rows that share it share its gradient too.

        An embedding's step is mostly its encoder's. Where dropout draws for each row, no two rows are the same.
        """
        different = list(texts) if self._method.is_stochastic else list(dict.fromkeys(texts))
        encoded = self._family.encode_prompts(different)
        if len(different) == len(texts):
            return encoded
        places = [different.index(text) for text in texts]
        return {name: torch.cat([tensor[place : place + 1] for place in places]) for name, tensor in encoded.items()}

    @torch.no_grad()
    def _encode(self, text: str) -> Conditions:
        encoded = self._family.encode_prompts([self._method.rewrite(text)])
        return {name: tensor.cpu() for name, tensor in encoded.items()}

    def _key(self, text: str) -> str:
        return self._keys.of_text(self._method.rewrite(text))

    def _stack(self, rows: Sequence[Tensor]) -> Tensor:
        return move_to(self._family.device, torch.cat(list(rows)))
