"""One way from a decoded picture to upright RGB: orientation, deep grey, colour profile, transparency.

Inspection and training both go through here, so that what was accepted is what is trained on. Pictures in sRGB, by
profile or without any, keep their numbers: only another profile's are converted.

In: opened pictures. Out: RGB. Knows Pillow and no file.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

ORIENTATION_TAG = 0x0112  # EXIF 2.32, Orientation
TURNS: dict[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation."""
SIDEWAYS = {5, 6, 7, 8}
"""Orientations that swap width and height."""
DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of greyscale with 16 bits. It converts them to RGB by cutting off at 255, which is all white."""
LEVELS_16_TO_8 = 257
"""65535 / 255: maps white on white and black on black."""
MAX_PROFILE_BYTES = 4 << 20
"""Profiles of printing presses have some 2 MB. A larger one is passed over."""
SAME_LEVELS = 3
"""A profile whose colours come out of the conversion within so many of 255 levels is sRGB under another name."""
KEPT_CONVERSIONS = 16
PROFILED = ("RGB", "RGBA", "CMYK", "L")
"""Modes that profiles are applied to; palettes become RGB before."""


def read_orientation(picture: Image.Image) -> int:
    """Return a picture's orientation from 1 (upright) to 8; 1 where what it says cannot be understood."""
    try:
        told = picture.getexif().get(ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 - hostile metadata break their parser in many ways, and the pixels are as good
        return 1
    return told if isinstance(told, int) and told in TURNS else 1


def turn_upright(picture: Image.Image, ground: str = "white", orientation: int | None = None) -> Image.Image:
    """Return a picture in sRGB, turned upright, its transparent parts on a ground.

    Args:
        picture: opened; decoded here where it is not yet.
        ground: what shows through.
        orientation: where it is known; else it is read from the picture.

    Raises:
        OSError, ValueError, SyntaxError: it cannot be decoded.
    """
    picture.load()
    turn = TURNS.get(read_orientation(picture) if orientation is None else orientation)
    profile = picture.info.get("icc_profile")
    turned = picture if turn is None else picture.transpose(turn)
    if turned.mode in DEEP_GREY:
        levels = np.asarray(turned).clip(0, 255 * LEVELS_16_TO_8) / LEVELS_16_TO_8
        turned = Image.fromarray(levels.round().astype(np.uint8))
    layered = "A" in turned.getbands() or "transparency" in turned.info
    if layered:
        turned = turned.convert("RGBA")
    elif turned.mode == "P":
        turned = turned.convert("RGB")
    turned = convert_to_srgb(turned, profile)
    if not layered:
        return turned.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", turned.size, ground), turned).convert("RGB")


def convert_to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture with its profile applied; as it was where that says sRGB, or nothing that can be understood."""
    conversion = find_conversion(picture.mode, profile)
    return picture if conversion is None else conversion.apply(picture)


def find_conversion(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """Return what converts a picture of this mode and profile to sRGB, or None where nothing has to be done."""
    if not profile or len(profile) > MAX_PROFILE_BYTES or mode not in PROFILED:
        return None
    return _build_conversion(mode, profile)


@lru_cache(maxsize=KEPT_CONVERSIONS)
def _build_conversion(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Build a conversion once for all pictures of one camera. Threads may share it."""
    target = "RGBA" if mode == "RGBA" else "RGB"
    try:
        conversion = ImageCms.buildTransform(
            ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, target
        )
        probe = _draw_probe(mode)
        before, after = (np.asarray(image.convert("RGB"), np.int16) for image in (probe, conversion.apply(probe)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # damaged, or of another kind of colours than the picture: browsers pass it over too
    return None if mode != "CMYK" and np.abs(before - after).max() <= SAME_LEVELS else conversion


def _draw_probe(mode: str) -> Image.Image:
    """Return a picture of 4,096 colours that lie evenly in the cube."""
    steps = np.linspace(0, 255, 16).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    return Image.fromarray(cube).convert(mode)
