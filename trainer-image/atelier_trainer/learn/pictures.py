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

from atelier_trainer.errors import DatasetUnusable

THUMBNAIL_PX = 16
"""Side of the thumbnails by which near-duplicates are found."""
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height (EXIF 2.3, tag Orientation)."""
DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of greyscale with 16 bits. It converts them to RGB by cutting off at 255, which is all white."""
LEVELS_16_TO_8 = 257
"""65535 / 255: maps white on white and black on black."""

Shape = tuple[int, int]
"""Width and height in pixels."""


def read_size(path: Path) -> Shape:
    """Return the picture's size after orientation, without decoding it."""
    with _open(path) as picture:
        width, height = picture.size
        return (height, width) if picture.getexif().get(EXIF_ORIENTATION) in TURNED else (width, height)


def read_thumbnail(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return a picture's 16 x 16 RGB thumbnail as one row of 768 levels from 0 to 255."""
    with _open(path) as picture:
        picture.draft("RGB", (THUMBNAIL_PX * 4, THUMBNAIL_PX * 4))  # JPEG decodes small directly
        small = _upright(picture, path).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16).reshape(-1)


def read_pixels(path: Path, shape: Shape, *, flip: bool) -> Tensor:
    """Return a picture resized to cover `shape`, cropped at its centre, as [1, 3, H, W] float32 in [-1, 1]."""
    with _open(path) as picture:
        fitted = ImageOps.fit(_upright(picture, path), shape, Image.Resampling.LANCZOS)
    if flip:
        fitted = ImageOps.mirror(fitted)
    pixels = torch.from_numpy(np.asarray(fitted, dtype=np.float32).copy())
    return (pixels / 127.5 - 1.0).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_picture(pixels: Tensor) -> Image.Image:
    """Return the picture of pixels [3, H, W] in [-1, 1]; what lies outside is clamped."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise DatasetUnusable(f"{path.name} cannot be read as a picture: inspect the dataset again") from error


def _upright(picture: Image.Image, path: Path) -> Image.Image:
    """Return the decoded picture in RGB, turned upright, transparent parts on white."""
    try:
        turned = ImageOps.exif_transpose(picture)
    except OSError as error:
        raise DatasetUnusable(f"{path.name} is cut off or damaged: inspect the dataset again") from error
    if turned.mode in DEEP_GREY:
        levels = np.asarray(turned).clip(0, 255 * LEVELS_16_TO_8) / LEVELS_16_TO_8
        turned = Image.fromarray(levels.round().astype(np.uint8))
    if "A" not in turned.getbands() and "transparency" not in turned.info:
        return turned.convert("RGB")
    layered = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
