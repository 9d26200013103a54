"""Near-duplicates: found among many whatever was done to a copy, and different pictures left alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier_materials.dataset.inspection import shrink_to_grid
from atelier_materials.dataset.near_duplicates import GRID_BYTES, MOST_BITS, find_near_duplicates
from atelier_materials.dataset.pictures import look_at_picture

MANY = 3000


def draw_scene(number: int, side_px: int = 320) -> Image.Image:
    """Return a picture of soft colours with grain, another one for each number."""
    draws = np.random.default_rng(number)
    coarse = Image.fromarray(draws.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side_px * 4 // 3, side_px), Image.Resampling.BICUBIC), dtype=np.float32)
    grain = draws.standard_normal((*smooth.shape[:2], 1), dtype=np.float32) * 4
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def fingerprint(picture: Image.Image, folder: Path, quality: int = 90) -> tuple[int, bytes]:
    """Return hash and grid of a picture as an inspection sees it."""
    path = folder / "picture.jpg"
    picture.save(path, "JPEG", quality=quality)
    facts = look_at_picture(path)
    return facts.dhash, shrink_to_grid(facts.thumbnail)


def crop(picture: Image.Image, percent: int) -> Image.Image:
    """Cut so many percent off, half on each side."""
    left, top = picture.width * percent // 200, picture.height * percent // 200
    return picture.crop((left, top, picture.width - left, picture.height - top))


@pytest.mark.parametrize(
    ("change", "quality"),
    [
        (lambda picture: picture, 30),
        (lambda picture: picture.resize((picture.width // 2, picture.height // 2)), 90),
        (lambda picture: picture.resize((picture.width * 2, picture.height * 2)), 80),
        (lambda picture: crop(picture, 2), 90),
    ],
    ids=["saved again", "halved", "doubled", "cropped"],
)
def test_copy_is_found(tmp_path: Path, change: Callable[[Image.Image], Image.Image], quality: int) -> None:
    """A copy that was saved again, resized or cropped a little is nearly its original."""
    seen = [fingerprint(draw_scene(1), tmp_path), fingerprint(change(draw_scene(1)), tmp_path, quality)]
    assert find_near_duplicates([one[0] for one in seen], [one[1] for one in seen]) == {1: 0}


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda picture: Image.merge("RGB", picture.split()[::-1]),
        lambda picture: crop(picture, 40),
    ],
    ids=["mirrored", "recoloured", "a detail"],
)
def test_another_view_is_none(tmp_path: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    """A mirrored or recoloured picture, or a detail of it, is one of its own."""
    seen = [fingerprint(draw_scene(1), tmp_path), fingerprint(change(draw_scene(1)), tmp_path)]
    assert find_near_duplicates([one[0] for one in seen], [one[1] for one in seen]) == {}


def test_different_pictures_are_left_alone(tmp_path: Path) -> None:
    """Of forty different scenes none is taken for another."""
    seen = [fingerprint(draw_scene(number, 96), tmp_path) for number in range(40)]
    assert find_near_duplicates([one[0] for one in seen], [one[1] for one in seen]) == {}


def test_same_composition_in_other_colours() -> None:
    """Equal hashes alone make no duplicates: the colours decide."""
    assert find_near_duplicates([7, 7], [bytes([30] * GRID_BYTES), bytes([90] * GRID_BYTES)]) == {}


@pytest.mark.parametrize("flipped", range(MOST_BITS + 1))
def test_every_planted_pair_is_found(flipped: int) -> None:
    """However few bits differ, wherever they lie, a pair is found among thousands."""
    draws = np.random.default_rng(flipped)
    hashes = [int(value) for value in draws.integers(0, 2**64, MANY, dtype=np.uint64)]
    grids = [draws.integers(0, 256, GRID_BYTES, dtype=np.uint8).tobytes() for _ in range(MANY)]
    planted = {}
    for number in range(50):
        later = MANY - 1 - number
        mask = sum(1 << int(bit) for bit in draws.choice(64, flipped, replace=False))
        hashes[later], grids[later], planted[later] = hashes[number] ^ mask, grids[number], number
    assert find_near_duplicates(hashes, grids) == planted


def test_a_chain_leads_to_its_first() -> None:
    """Three in a row that are nearly the next are all told against the first."""
    grids = [bytes([level] * GRID_BYTES) for level in (100, 105, 110)]
    assert find_near_duplicates([0, 1, 3], grids) == {1: 0, 2: 0}


def test_blank_pictures_are_one() -> None:
    """Thousands of one blank picture are compared with the first, not with one another."""
    found = find_near_duplicates([0] * MANY, [bytes(GRID_BYTES)] * MANY)
    assert (len(found), set(found.values())) == (MANY - 1, {0})


def test_nothing_to_compare() -> None:
    """No picture, or a single one, has no duplicate."""
    assert (find_near_duplicates([], []), find_near_duplicates([1], [bytes(GRID_BYTES)])) == ({}, {})


def test_grid_is_read_as_rgb() -> None:
    """A grid holds 8 x 8 cells of three colours."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 60), (200, 10, 10)).save(buffer, "JPEG")
    grid = np.frombuffer(shrink_to_grid(buffer.getvalue()), dtype=np.uint8).reshape(8, 8, 3)
    assert abs(grid.astype(int) - [200, 10, 10]).max() <= 3
