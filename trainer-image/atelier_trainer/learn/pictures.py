"""From picture files to pixels: orientation, colour, crop.

In: paths. Out: sizes, small thumbnails and tensors in [-1, 1]. Knows Pillow and nothing of models. Opening and the way
to upright sRGB are the inspection's own, so that what it accepted is what is trained on. Files were checked for size
and kind before training, so anything unreadable here is a broken copy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from atelier_materials.dataset import colours
from atelier_materials.dataset.colours import SIDEWAYS, read_orientation
from atelier_materials.dataset.pictures import PictureRefused
from atelier_materials.dataset.pictures import open_picture as open_by_content
from atelier_materials.errors import DatasetUnusable

THUMBNAIL_PX = 16
"""Side of the thumbnails by which near-duplicates are found."""
BROKEN = (OSError, SyntaxError, ValueError, PictureRefused, Image.DecompressionBombError)
"""What decoders make of damaged files."""
Shape = tuple[int, int]
"""Width and height in pixels."""


def read_size(path: Path) -> Shape:
    """Return the picture's size after orientation, without decoding it."""
    with open_picture(path) as picture:
        width, height = picture.size
        return (height, width) if read_orientation(picture) in SIDEWAYS else (width, height)


def read_thumbnail(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return a picture's 16 x 16 RGB thumbnail as one row of 768 levels from 0 to 255."""
    with open_picture(path) as picture:
        picture.draft("RGB", (THUMBNAIL_PX * 4, THUMBNAIL_PX * 4))  # JPEG decodes small directly
        small = turn_upright(picture, path).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16).reshape(-1)


def read_pixels(path: Path, shape: Shape, *, flip: bool, name: str = "") -> Tensor:
    """Return a picture resized to cover `shape`, cropped at its centre, as [1, 3, H, W] float32 in [-1, 1].

    Raises:
        DatasetUnusable: it cannot be decoded; the message calls it `name`, or by its file where that is empty.
    """
    with open_picture(path, name) as picture:
        fitted = ImageOps.fit(turn_upright(picture, path, name), shape, Image.Resampling.LANCZOS)
    if flip:
        fitted = ImageOps.mirror(fitted)
    pixels = torch.from_numpy(np.asarray(fitted, dtype=np.float32).copy())
    return (pixels / 127.5 - 1.0).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_picture(pixels: Tensor) -> Image.Image:
    """Return the picture of pixels [3, H, W] in [-1, 1]; what lies outside is clamped."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def open_picture(path: Path, name: str = "") -> Image.Image:
    """Return a picture whose header is read. Raises DatasetUnusable where that fails."""
    try:
        return open_by_content(path)
    except BROKEN as error:
        raise DatasetUnusable(
            f"{name or path.name} cannot be read as a picture: inspect the dataset again, or take it out"
        ) from error


def turn_upright(picture: Image.Image, path: Path, name: str = "", ground: str = "white") -> Image.Image:
    """Return the decoded picture in sRGB, turned upright, transparent parts on a ground. Raises DatasetUnusable."""
    try:
        return colours.turn_upright(picture, ground)
    except BROKEN as error:
        raise DatasetUnusable(
            f"{name or path.name} is cut off or damaged: inspect the dataset again, or take it out"
        ) from error
