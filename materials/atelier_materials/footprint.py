"""What a run keeps beside the denoiser, as far as its settings tell: moments, running mean, text encoders, texts.

Asked before there is a GPU, by preflight and by `dataset check`, and when learning loads, rests and fits passes. Pure.
"""

from __future__ import annotations

import math

from atelier_contract.settings import Settings
from atelier_contract.tuning import Optimizer

FLOAT_BYTES = 4
CODE_BLOCK = 256
"""Moments of 8 bits that share one scale (bitsandbytes)."""
MOMENT_BYTES: dict[Optimizer, float] = {
    "AdamW": 2 * FLOAT_BYTES,
    "AdamW8bit": 2 * (1 + FLOAT_BYTES / CODE_BLOCK),
    "Prodigy": 4 * FLOAT_BYTES,
}
"""Of each trained number. AdamW: mean and mean square of its gradients. Prodigy: besides, where it began and what pulls
it from there."""

TAG_ORDERS = 8
"""Orders that a caption's tags are shuffled into. A bounded number keeps every text that a run can read known before
the first step, so that all are encoded once: eight orders of tags vary as much as a small set is seen."""


def count_orders(settings: Settings, caption: str) -> int:
    """Return about how many texts shuffling makes of a caption: fewer than all where few of its tags may move."""
    if not settings.shuffle_tags:
        return 1
    moved = len(caption.split(",")) - settings.keep_tags
    return min(TAG_ORDERS, math.factorial(min(max(moved, 0), TAG_ORDERS)))


def count_moment_bytes(settings: Settings, trained: int) -> int:
    """Return what the optimiser of a run keeps of so many trained numbers from its first step on."""
    return int(MOMENT_BYTES[settings.optimizer] * trained)


def count_mean_bytes(settings: Settings, trained: int) -> int:
    """Return what the running mean takes: nothing where none is kept."""
    return FLOAT_BYTES * trained if settings.ema_decay else 0


def learns_text(settings: Settings) -> bool:
    """Return whether text encoders stay to the end, because something in them is trained: words, or adapters."""
    concept = settings.concept_model
    return concept is None or concept.embedding is not None or concept.text_encoder_learning_rate is not None
