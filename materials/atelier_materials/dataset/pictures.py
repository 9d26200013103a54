"""One picture file, looked at before anything else touches it: hostile until proven a picture.

The format is known by its first bytes, never by its name, and only three decoders are ever called; a PostScript file
named .png therefore reaches no interpreter. Size is read from the header before pixels are decoded. Every picture is
decoded to its end once, so that a truncated one is found here and not in the middle of a night's training.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from atelier_contract.reasons import Finding

MAX_PIXELS = 100_000_000
"""Decoded as RGBA it takes 400 MB, which an inspection's pod (1 GiB) can hold. No camera makes larger ones."""
MAX_FILE_BYTES = 512 << 20
"""A 100-megapixel picture without any compression is smaller than this."""
MIN_SIDE_PX = 64
"""The smallest `tuning.resolution`: a smaller picture would be enlarged for any training."""
FORMATS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF"}
ALLOWED = "PNG, JPEG or WebP"
ORIENTATION_TAG = 0x0112  # EXIF 2.32, Orientation
SIDEWAYS = {5, 6, 7, 8}
"""Orientations that swap width and height."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class PictureRefused(Exception):
    """The file is no picture that can be trained on. Never leaves the inspection: it becomes a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


@dataclass(frozen=True)
class PictureFacts:
    """What an inspection tells of a whole picture."""

    width_px: int
    """After EXIF orientation."""
    height_px: int
    is_animated: bool
    """More than one frame: the first is trained on."""


def look_at_picture(path: Path) -> PictureFacts:
    """Decode a picture to its end and return what it is.

    Raises:
        PictureRefused: it is of another format, too large, or cannot be decoded.
    """
    kind = _recognise(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[kind]) as picture:
                is_animated = getattr(picture, "n_frames", 1) > 1
                sideways = picture.getexif().get(ORIENTATION_TAG) in SIDEWAYS
                picture.load()
                width, height = picture.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureRefused(Finding.PICTURE_TOO_LARGE) from error
    except Exception as error:
        # Whatever a decoder makes of hostile bytes: it says that this file is not a picture, and nothing else.
        raise PictureRefused(Finding.UNREADABLE_PICTURE) from error
    return PictureFacts(height if sideways else width, width if sideways else height, is_animated)


def _recognise(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        raise PictureRefused(Finding.UNREADABLE_PICTURE)
    for kind, magic in FORMATS.items():
        if head.startswith(magic) and (kind != "WEBP" or head[8:12] == b"WEBP"):
            return kind
    raise PictureRefused(Finding.FORMAT_NOT_ALLOWED)
