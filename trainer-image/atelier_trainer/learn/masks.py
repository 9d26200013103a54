"""Masks: which part of a picture is to be learned, at the size of its latents.

A mask is cropped as its picture is and then reduced by area, so that each latent pixel has the share of white among the
picture's pixels that it stands for. Black keeps a tenth of its weight: without any, the model may put there whatever it
likes, and it shows.

In: mask files. Out: tensors on the CPU. Knows Pillow and nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from atelier_materials.dataset.buckets import Shape
from atelier_trainer.learn.pictures import open_picture, turn_upright
from atelier_trainer.records import Picture

FLOOR = 0.1
"""Weight of what is black."""


class PictureMasks:
    """The masks of training pictures, kept at the size of their latents: 4 KB each at 512 pixels."""

    def __init__(self, pictures: Sequence[Picture], shapes: Sequence[Shape], pixels_per_latent: int) -> None:
        """Read all masks.

        Args:
            pictures: in the run's order.
            shapes: training shape of each.
            pixels_per_latent: side of a latent pixel.

        Raises:
            DatasetUnusable: one cannot be decoded.
        """
        self._levels = {
            index: read_levels(picture.mask, shapes[index], pixels_per_latent, name=picture.name)
            for index, picture in enumerate(pictures)
            if picture.mask is not None
        }
        self._weights = {index: float(weigh_levels(levels).double().mean()) for index, levels in self._levels.items()}

    def __bool__(self) -> bool:
        """Tell whether any picture has one."""
        return bool(self._levels)

    def read(self, index: int, size: torch.Size, *, flip: bool) -> Tensor:
        """Return a picture's mask as [1, H, W] float32 from `FLOOR` to 1; all 1 where it has none.

        Args:
            index: of the picture.
            size: H and W of its latents.
            flip: whether the picture is mirrored, and the mask with it.
        """
        levels = self._levels.get(index)
        if levels is None:
            return torch.ones(1, *size)
        weights = weigh_levels(levels)
        return weights.flip(-1) if flip else weights

    def weigh(self, index: int) -> float:
        """Return the mean of a picture's mask: its share in the denominator of a batch's loss."""
        return self._weights.get(index, 1.0)


def weigh_levels(levels: Tensor) -> Tensor:
    """Return levels from 0 to 255 as weights from `FLOOR` to 1, float32."""
    return (levels.float() / 255).clamp(min=FLOOR)


def read_levels(path: Path, shape: Shape, pixels_per_latent: int, *, name: str = "") -> Tensor:
    """Return a mask at the size of its picture's latents, [1, H, W] uint8.

    Args:
        path: the mask's file, of its picture's width and height.
        shape: what the picture is cropped to, in pixels.
        pixels_per_latent: side of a latent pixel.
        name: what to call it in messages.

    Raises:
        DatasetUnusable: it cannot be decoded.
    """
    size = (shape[0] // pixels_per_latent, shape[1] // pixels_per_latent)
    with open_picture(path, name) as picture:
        grey = turn_upright(picture, path, name, ground="black").convert("L")
    fitted = ImageOps.fit(grey, size, Image.Resampling.BOX)  # the crop follows from the ratio, which both sizes share
    return torch.from_numpy(np.asarray(fitted).copy()).unsqueeze(0)
