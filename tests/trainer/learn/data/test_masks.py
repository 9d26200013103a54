"""Masks: cropped as their pictures, reduced by area, never quite black."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from atelier_materials.errors import DatasetUnusable
from atelier_trainer.learn.masks import FLOOR, PictureMasks
from atelier_trainer.learn.pictures import read_pixels
from atelier_trainer.records import Picture
from toy_family import put_mask, put_picture


def masks_of(mask: Path, shape: tuple[int, int] = (64, 64), size: tuple[int, int] = (64, 64)) -> PictureMasks:
    """Return the masks of one picture."""
    return PictureMasks([put_picture(mask.parent, "a", size, mask=mask)], [shape], 8)


def test_white_is_learned_whole_and_black_a_tenth(tmp_path: Path) -> None:
    """The left half of 64 pixels is white: the left half of 8 latent pixels weighs 1, the right one the floor."""
    mask = masks_of(put_mask(tmp_path / "m")).read(0, torch.Size((8, 8)), flip=False)
    assert mask.shape == (1, 8, 8)
    assert torch.equal(mask[0, :, :4], torch.ones(8, 4))
    assert torch.equal(mask[0, :, 4:], torch.full((8, 4), FLOOR))


def test_edges_weigh_by_area(tmp_path: Path) -> None:
    """A latent pixel that is white to three quarters weighs three quarters."""
    mask = masks_of(put_mask(tmp_path / "m", white=(0, 0, 30, 64))).read(0, torch.Size((8, 8)), flip=False)
    assert float(mask[0, 0, 3]) == pytest.approx(0.75, abs=1 / 255)


def test_mirrored_picture_has_a_mirrored_mask(tmp_path: Path) -> None:
    """The mask is mirrored with its picture."""
    masks, size = masks_of(put_mask(tmp_path / "m")), torch.Size((8, 8))
    assert torch.equal(masks.read(0, size, flip=True), masks.read(0, size, flip=False).flip(-1))


@pytest.mark.parametrize(("size", "shape"), [((200, 64), (128, 64)), ((64, 200), (64, 128)), ((97, 131), (64, 64))])
@pytest.mark.parametrize("flip", [False, True])
def test_mask_is_cropped_as_its_picture(
    tmp_path: Path, size: tuple[int, int], shape: tuple[int, int], flip: bool
) -> None:
    """A picture that is its own mask is white exactly where its mask is, whatever is cropped away."""
    white = (size[0] // 3, size[1] // 4, size[0] * 3 // 5, size[1] * 2 // 3)
    path = put_mask(tmp_path / "m.png", size, white)
    mask = PictureMasks([Picture(path, "a" * 64, None, mask=path)], [shape], 8).read(
        0, torch.Size((shape[1] // 8, shape[0] // 8)), flip=flip
    )
    pixels = (read_pixels(path, shape, flip=flip).mean(dim=1) + 1) / 2
    means = torch.nn.functional.avg_pool2d(pixels, 8).clamp(min=FLOOR)
    assert torch.allclose(mask, means, atol=0.08)  # two ways to scale down: sharp edges differ a little


def test_transparent_counts_as_black(tmp_path: Path) -> None:
    """What is transparent in a mask is not to be learned, whatever colour lies under it."""
    path = tmp_path / "m"
    Image.new("RGBA", (64, 64), (255, 255, 255, 0)).save(path, "PNG")
    assert torch.equal(masks_of(path).read(0, torch.Size((8, 8)), flip=False), torch.full((1, 8, 8), FLOOR))


def test_picture_without_a_mask_weighs_1(tmp_path: Path) -> None:
    """Beside pictures with masks, one without is learned whole."""
    pictures = [put_picture(tmp_path, "a", mask=put_mask(tmp_path / "m")), put_picture(tmp_path, "b")]
    masks = PictureMasks(pictures, [(64, 64)] * 2, 8)
    assert torch.equal(masks.read(1, torch.Size((8, 8)), flip=False), torch.ones(1, 8, 8))
    assert masks.weigh(1) == 1


def test_weight_is_the_mean_of_the_mask(tmp_path: Path) -> None:
    """Half white, half floor: a picture's share of the denominator is the mean of what `read` returns."""
    masks = masks_of(put_mask(tmp_path / "m"))
    assert masks.weigh(0) == pytest.approx((1 + FLOOR) / 2)
    assert masks.weigh(0) == pytest.approx(float(masks.read(0, torch.Size((8, 8)), flip=False).mean()))


def test_no_masks_at_all(tmp_path: Path) -> None:
    """A run none of whose pictures has a mask has none."""
    assert not PictureMasks([put_picture(tmp_path, "a")], [(64, 64)], 8)


def test_broken_mask_is_named(tmp_path: Path) -> None:
    """A mask that cannot be decoded ends the run with its picture's path."""
    path = tmp_path / "m"
    path.write_bytes(put_mask(tmp_path / "whole").read_bytes()[:50])
    with pytest.raises(DatasetUnusable, match=r"photos/a\.png"):
        masks_of(path)
