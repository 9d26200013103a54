"""Pictures to latents and back, where memory is short too."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_trainer.learn.families.codec import TILE, Codec
from atelier_trainer.learn.families.loading import DiffusersFolder

CPU = torch.device("cpu")


@pytest.fixture
def codec(tiny_flux: Path) -> Codec:
    """The autoencoder of a tiny model like FLUX.1 dev."""
    return Codec(DiffusersFolder(tiny_flux).load_autoencoder, CPU)


def run_short(codec: Codec) -> list[int]:
    """Let the decoder run out of memory on anything wider than a tile; return the widths it was asked for."""
    widths: list[int] = []

    def refuse(_: Any, told: tuple[torch.Tensor]) -> None:
        widths.append(told[0].shape[-1])
        if widths[-1] > TILE:
            raise torch.OutOfMemoryError

    codec.part.model.decoder.register_forward_pre_hook(refuse)
    return widths


def test_a_sample_beyond_memory_is_put_together_from_tiles(codec: Codec, caplog: pytest.LogCaptureFixture) -> None:
    """Where a whole picture does not fit it is decoded in tiles, as large as it would be, and the log says so."""
    latents = torch.randn((1, 16, 80, 96), generator=torch.Generator().manual_seed(1))
    whole = codec.decode(latents)
    widths = run_short(codec)
    with caplog.at_level(logging.WARNING):
        tiled = codec.decode(latents)
    assert widths[0] == 96
    assert max(widths[1:]) == TILE
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().mean()) < 0.1 * float(whole.std()), "tiles make the same picture"
    assert "decoded in tiles" in caplog.text


def test_tiles_are_never_learned_from(codec: Codec) -> None:
    """A picture is encoded whole also after a sample was decoded in tiles."""
    pixels = torch.randn((1, 3, 768, 64), generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    before = codec.encode(pixels).mean
    run_short(codec)
    codec.decode(torch.randn(1, 16, 80, 80))
    assert torch.equal(codec.encode(pixels).mean, before)


def test_memory_that_is_short_for_a_tile_is_said(codec: Codec) -> None:
    """Where not even a tile fits the shortage is the caller's to hear of."""

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError

    codec.part.model.decoder.register_forward_pre_hook(refuse)
    with pytest.raises(torch.OutOfMemoryError):
        codec.decode(torch.randn(1, 16, 80, 80))
