"""The data path on each family's own encoders: what is kept is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atelier_contract.architectures import Architecture
from atelier_trainer.learn.encodings import MemoryCache, build_keys, round_posterior
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.masks import PictureMasks
from atelier_trainer.learn.pictures import read_pixels
from atelier_trainer.learn.prompts import PromptEncoder
from learning import BASE_MODEL
from toy_family import ToyMethod, no_pause, put_mask, put_picture

KEYS = build_keys({}, "m" * 64)
SHAPE = (128, 64)


@pytest.fixture(scope="module", params=[*Architecture])
def family(request: pytest.FixtureRequest) -> Family:
    """A tiny base model of each family."""
    folders = {
        Architecture.STABLE_DIFFUSION_1: lambda: BASE_MODEL,
        Architecture.STABLE_DIFFUSION_XL: lambda: request.getfixturevalue("tiny_xl"),
        Architecture.FLUX_1: lambda: request.getfixturevalue("tiny_flux"),
    }
    architecture: Architecture = request.param
    return load_family(architecture, folders[architecture](), torch.device("cpu"), torch.float32, "contiguous")


def test_kept_latents_are_the_encoders_own(family: Family, tmp_path: Path) -> None:
    """Latents read from the cache are what the family's picture encoder says, rounded."""
    picture = put_picture(tmp_path, "a", (200, 96))
    latents = PictureLatents(family, MemoryCache(), KEYS, [picture], [SHAPE])
    latents.fill(no_pause)
    expected = round_posterior(family.encode_picture(read_pixels(picture.path, SHAPE, flip=False)))
    found = latents.read(0)
    assert torch.equal(found.mean, expected.mean)
    assert found.mean.shape == latents.latent_shape(0)
    assert (found.deviation is None) == (expected.deviation is None)


def test_kept_texts_are_the_encoders_own(family: Family) -> None:
    """Conditions read from the cache are what the family's text encoders say, every name, number and format."""
    cache = MemoryCache()
    PromptEncoder(family, ToyMethod(), cache, KEYS).fill(["a teapot", ""], no_pause)
    found = PromptEncoder(family, ToyMethod(), cache, KEYS).encode(["", "a teapot"])
    with torch.no_grad():
        expected = [family.encode_prompts([text]) for text in ("", "a teapot")]
    assert found.keys() == expected[0].keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[0][name].dtype
        assert torch.equal(tensor, torch.cat([row[name] for row in expected]))


def test_masks_fit_the_latents(family: Family, tmp_path: Path) -> None:
    """A mask has the height and width of its picture's latents in every family."""
    picture = put_picture(tmp_path, "a", (200, 96), mask=put_mask(tmp_path / "m", (200, 96)))
    size = PictureLatents(family, MemoryCache(), KEYS, [picture], [SHAPE]).latent_shape(0)[1:]
    mask = PictureMasks([picture], [SHAPE], family.pixels_per_latent).read(0, size, flip=False)
    assert mask.shape == (1, *size)
