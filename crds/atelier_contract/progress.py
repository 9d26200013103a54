"""What a running trainer tells when asked (`GET /progress`).

It is live, at most 64 KiB, and never the only copy of anything:
the manifests in the store say the same of everything that lasts.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atelier_contract.base import Document, Report

Phase = Literal["Starting", "Fetching", "Verifying", "Caching", "Training", "Checkpointing", "Finished"]
"""Phases of `train`, in order; Training and Checkpointing alternate."""


class CheckpointRow(Report):
    """A whole checkpoint."""

    step: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    """Model files and samples."""
    sha256: str
    """Digest of the first model file; 64 hex digits, or the first 16 in a termination message."""
    held_out_loss: float | None = None
    samples: Annotated[int, Field(ge=0)] = 0


class ProgressReport(Document):
    """Live state of one attempt."""

    run_identity: str
    attempt: str
    """UID of the pod: an answer of another attempt is ignored."""
    phase: Phase
    step: Annotated[int, Field(ge=0)]
    """Optimiser steps done."""
    total_steps: Annotated[int, Field(ge=1)]
    from_step: Annotated[int, Field(ge=0)] = 0
    """Step this attempt started from."""
    epoch: Annotated[int, Field(ge=0)] = 0
    loss: float | None = None
    """Mean training loss over the last 50 steps, unweighted by anything but snrGamma."""
    images_per_second: float | None = None
    matmul_share: float | None = None
    """Part of the device's speed at plain matrix products that training reaches, 0 to 1; counted without what is
    computed twice to save memory."""
    remaining_seconds: int | None = None
    exact: bool = True
    """False: this attempt could not repeat how the first one computed; the reason is among the warnings."""
    baseline_loss: float | None = None
    """Held-out loss at step 0, with the pictures' own captions."""
    empty_caption_loss: float | None = None
    """Held-out loss at step 0 with empty captions."""
    phase_seconds: dict[str, float] = {}
    """Time spent in each phase so far."""
    checkpoints: Annotated[list[CheckpointRow], Field(max_length=64)] = []
    warnings: Annotated[list[str], Field(max_length=16)] = []
    """Sentences for people; no captions, no prompts."""
