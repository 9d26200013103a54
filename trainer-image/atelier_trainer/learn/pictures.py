"""From picture files to pixels: orientation, colour, crop.

In: paths. Out: sizes, small thumbnails and tensors in [-1, 1]. Knows Pillow and nothing of models. Files were checked
for size and kind before training, so anything unreadable here is a broken copy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from atelier_materials.errors import DatasetUnusable

THUMBNAIL_PX = 16
"""Side of the thumbnails by which near-duplicates are found."""
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height (EXIF 2.3, tag Orientation)."""
DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of greyscale with 16 bits. It converts them to RGB by cutting off at 255, which is all white."""
LEVELS_16_TO_8 = 257
"""65535 / 255: maps white on white and black on black."""

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What decoders make of damaged files."""
Shape = tuple[int, int]
"""Width and height in pixels."""


def read_size(path: Path) -> Shape:
    """Return the picture's size after orientation, without decoding it."""
    with open_picture(path) as picture:
        width, height = picture.size
        return (height, width) if picture.getexif().get(EXIF_ORIENTATION) in TURNED else (width, height)


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
        return Image.open(path)
    except BROKEN as error:
        raise DatasetUnusable(
            f"{name or path.name} cannot be read as a picture: inspect the dataset again, or take it out"
        ) from error


def turn_upright(picture: Image.Image, path: Path, name: str = "", ground: str = "white") -> Image.Image:
    """Return the decoded picture in RGB, turned upright, transparent parts on a ground. Raises DatasetUnusable."""
    try:
        turned = ImageOps.exif_transpose(picture)
    except BROKEN as error:
        raise DatasetUnusable(
            f"{name or path.name} is cut off or damaged: inspect the dataset again, or take it out"
        ) from error
    if turned.mode in DEEP_GREY:
        levels = np.asarray(turned).clip(0, 255 * LEVELS_16_TO_8) / LEVELS_16_TO_8
        turned = Image.fromarray(levels.round().astype(np.uint8))
    if "A" not in turned.getbands() and "transparency" not in turned.info:
        return turned.convert("RGB")
    layered = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, ground), layered).convert("RGB")
