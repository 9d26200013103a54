"""Batches of nothing in particular, for tests of how steps are computed."""

from __future__ import annotations

from dataclasses import replace

import torch

from atelier_trainer.learn.assembly import Batch


def draw_batch(step: int, side: int = 8, *, masked: bool = False) -> Batch:
    """Return a batch of four; with masks it has another sum of them in every step."""
    generator = torch.Generator().manual_seed(step)
    batch = Batch(
        latents=torch.randn(4, 4, side, side, generator=generator),
        noise=torch.randn(4, 4, side, side, generator=generator),
        timesteps=torch.randint(1000, (4,), generator=generator),
        texts=["a star", "a TKXW teapot", "", f"a heart {step}"],
        row_weights=torch.ones(4),
        mask_total=4.0,
    )
    if not masked:
        return batch
    masks = torch.rand(4, 1, side, side, generator=generator)
    return replace(batch, masks=masks, mask_total=float(masks.mean(dim=(1, 2, 3)).sum()))
