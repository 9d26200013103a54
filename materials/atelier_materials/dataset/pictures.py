"""One picture file, looked at before anything else touches it: hostile until proven a picture.

Its bytes are read first (`anatomy`), and the one decoder of its format is called then; a PostScript file named .png
reaches no interpreter. Every picture is decoded to its end once, so that a truncated one is found here and not in the
middle of a night's training. All that is told of a picture comes from that one decoding: a JPEG is decoded at an eighth
of its size, which reads every byte of it in half the time.

Libraries release the interpreter's lock while they decode: two threads use two cores.
"""

from __future__ import annotations

import io
import mmap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, features

from atelier_contract.reasons import Finding
from atelier_materials.dataset.anatomy import (
    HEAD_BYTES,
    MAX_FRAMES,
    Anatomy,
    Kind,
    PictureRefused,
    read_anatomy,
    recognise,
)
from atelier_materials.dataset.colours import DEEP_GREY, SIDEWAYS, find_conversion, read_orientation, turn_upright

__all__ = ["PictureFacts", "PictureRefused", "look_at_picture", "open_picture"]

MAX_PIXELS = {
    Kind.PNG: 80_000_000,
    Kind.JPEG: 110_000_000,
    Kind.WEBP: 20_000_000,
    Kind.AVIF: 32_000_000,
    Kind.HEIF: 50_000_000,
}
"""What can be decoded within 350 MiB, but for a JPEG, of which cameras make 102 megapixels; telephones end at 50."""
DECODED_BYTES = {Kind.PNG: 4, Kind.JPEG: 1, Kind.WEBP: 16, Kind.AVIF: 11, Kind.HEIF: 7}
"""For each pixel while it is decoded, measured at the limits above (DECISIONS)."""
MAX_PROGRESSIVE_PIXELS = 60_000_000
"""A progressive JPEG holds two bytes for each of three coefficients a pixel while it is decoded."""
MAX_SCANNED_PIXELS = 2_500_000_000
"""Pixels times scans of a progressive JPEG: each scan passes over all, in a second for every 1,200 million."""
MAX_FILE_BYTES = 512 << 20
"""A 100-megapixel picture without any compression is smaller than this."""
MAX_WHOLE_FILE_BYTES = 32 << 20
"""Of formats whose decoders hold the file itself in memory."""
MAX_READ_BYTES = 16 << 20
"""Larger files are mapped: searching a mapping is five times slower, and few pictures are so large."""
LARGE_BYTES = 100 << 20
"""Of decoding: above, one picture at a time. Memory is for one of the largest, not for as many as there are threads."""
MIN_SIDE_PX = 64
"""The smallest `tuning.resolution`: a smaller picture would be enlarged for any training."""
THUMBNAIL_PX = 96
THUMBNAIL_QUALITY = 80
ALLOWED = "PNG, JPEG, WebP, AVIF or HEIC"

Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS.values())
_LARGE = threading.RLock()


class _Quiet:
    """No warnings while any thread decodes: what decoders remark on becomes a finding or is nobody's business.

    The filters belong to the whole process, so the first to come sets them aside and the last to go puts them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


@dataclass(frozen=True)
class PictureFacts:
    """What an inspection tells of a whole picture."""

    width_px: int
    """After EXIF orientation."""
    height_px: int
    is_animated: bool = False
    """More than one frame: the first is trained on."""
    mode: str = "RGB"
    """Pillow's name of how colours are kept, as in RGB, RGBA, P, L, CMYK."""
    has_alpha: bool = False
    """Some pixel lets the ground through: training lays it on white."""
    has_profile: bool = False
    """Its colours are not sRGB (another profile, or CMYK): training converts them."""
    is_turned: bool = False
    """It lies on its side or is mirrored, and its EXIF orientation says how it is turned upright."""
    dhash: int = 0
    """64 bits that near-duplicates share, but for a few: is each of 8 x 8 places darker than its right neighbour?"""
    thumbnail: bytes = b""
    """A JPEG of at most 96 pixels a side, upright, in sRGB, without any metadata."""


def look_at_picture(path: Path) -> PictureFacts:
    """Decode a picture to its end and return what it is.

    Raises:
        PictureRefused: it is of another format, too large, more than a picture, or cannot be decoded.
    """
    anatomy = _examine(path)
    try:
        with _QUIET, _alone_if_large(anatomy.kind, anatomy.pixels), _open_as(path, anatomy.kind) as picture:
            return _read_facts(picture, anatomy)
    except PictureRefused:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise PictureRefused(Finding.PICTURE_TOO_LARGE) from error
    except Exception as error:
        # Whatever a decoder makes of hostile bytes: it says that this file is not a picture, and nothing else.
        raise PictureRefused(Finding.UNREADABLE_PICTURE) from error


def open_picture(path: Path) -> Image.Image:
    """Return a picture whose header is read, by the decoder of its own format and no other.

    Raises:
        PictureRefused: it is of no known format, or its decoder is not installed.
        OSError, ValueError, SyntaxError: its header cannot be read.
    """
    with path.open("rb") as file:
        return _open_as(path, recognise(file.read(HEAD_BYTES)))


def _examine(path: Path) -> Anatomy:
    size = path.stat().st_size
    if size == 0:
        raise PictureRefused(Finding.UNREADABLE_PICTURE)
    if size > MAX_FILE_BYTES:
        raise PictureRefused(Finding.PICTURE_TOO_LARGE)
    with path.open("rb") as file:
        if size <= MAX_READ_BYTES:
            anatomy = read_anatomy(file.read())
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                anatomy = read_anatomy(data)
    _refuse_large(anatomy.kind, anatomy.pixels, is_progressive=anatomy.is_progressive)
    if anatomy.pixels * anatomy.scans > MAX_SCANNED_PIXELS:
        raise PictureRefused(Finding.PICTURE_BOMB)
    if anatomy.kind not in {Kind.PNG, Kind.JPEG} and size > MAX_WHOLE_FILE_BYTES:
        raise PictureRefused(Finding.PICTURE_TOO_LARGE)
    return anatomy


def _refuse_large(kind: Kind, pixels: int, *, is_progressive: bool = False) -> None:
    if pixels > (MAX_PROGRESSIVE_PIXELS if is_progressive else MAX_PIXELS[kind]):
        raise PictureRefused(Finding.PICTURE_TOO_LARGE)


def _open_as(path: Path, kind: Kind) -> Image.Image:
    if not _is_installed(kind):
        raise PictureRefused(Finding.FORMAT_NOT_INSTALLED)
    return Image.open(path, formats=[kind])


@cache
def _is_installed(kind: Kind) -> bool:
    """Tell whether a format can be decoded here; its decoder is made known by asking."""
    if kind is Kind.AVIF:
        return bool(features.check("avif"))
    if kind is Kind.HEIF:
        try:
            import pillow_heif  # noqa: PLC0415 - an extra, and slow to load: only whoever has such pictures waits for it
        except ImportError:
            return False
        pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _read_facts(picture: Image.Image, anatomy: Anatomy) -> PictureFacts:
    width, height = picture.size
    _refuse_large(anatomy.kind, width * height)
    frames = getattr(picture, "n_frames", 1) if anatomy.kind is Kind.AVIF else anatomy.frames
    if frames > MAX_FRAMES:
        raise PictureRefused(Finding.TOO_MANY_FRAMES)
    with _alone_if_large(anatomy.kind, width * height):
        if anatomy.kind is Kind.JPEG:
            picture.draft(None, (THUMBNAIL_PX, THUMBNAIL_PX))  # None keeps the mode
        picture.load()
        orientation = read_orientation(picture)
        has_alpha = _is_transparent(picture)
        small = turn_upright(_shrink(picture), orientation=orientation)
    sideways = orientation in SIDEWAYS
    return PictureFacts(
        height if sideways else width,
        width if sideways else height,
        is_animated=frames > 1,
        mode=picture.mode,
        has_alpha=has_alpha,
        is_turned=orientation != 1,
        has_profile=picture.mode == "CMYK" or _is_converted(picture),
        dhash=hash_differences(small),
        thumbnail=_write_thumbnail(small),
    )


@contextmanager
def _alone_if_large(kind: Kind, pixels: int) -> Iterator[None]:
    if pixels * DECODED_BYTES[kind] <= LARGE_BYTES:
        yield
    else:
        with _LARGE:
            yield


def _is_converted(picture: Image.Image) -> bool:
    mode = "RGB" if picture.mode == "P" else picture.mode
    return find_conversion(mode, picture.info.get("icc_profile")) is not None


def _is_transparent(picture: Image.Image) -> bool:
    """Tell whether any pixel lets the ground through, not only whether one could."""
    if "A" in picture.getbands():
        lowest, _ = cast("tuple[tuple[int, int], ...]", picture.getextrema())[-1]
        return lowest < 255
    through = picture.info.get("transparency")
    if through is None or picture.mode != "P":
        return through is not None
    levels = through if isinstance(through, bytes) else bytes([255] * through + [0])
    used = picture.histogram()
    return any(used[colour] for colour, level in enumerate(levels) if level < 255)


def _shrink(picture: Image.Image) -> Image.Image:
    """Return a picture of at most `THUMBNAIL_PX` a side, with what its orientation and colours need.

    Palettes and deep grey cannot be averaged, and averaging beside transparency copies the whole picture: there, of
    large pictures, every so many pixels are taken first.
    """
    side = THUMBNAIL_PX
    plain = picture.mode not in {*DEEP_GREY, "P", "1"} and "A" not in picture.getbands()
    small = picture
    if not plain and max(picture.size) > 4 * side:
        small = picture.resize(_fit(picture.size, 4 * side), Image.Resampling.NEAREST)
    if small.mode in {"P", "1"}:
        small = small.convert("RGBA" if "transparency" in small.info else "RGB")
    if max(small.size) > side and small.mode not in DEEP_GREY:
        small = small.resize(_fit(small.size, side), Image.Resampling.BOX)
    return small


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def hash_differences(picture: Image.Image) -> int:
    """Return the 64-bit difference hash of a picture: 9 x 8 greys, each compared with the next in its row."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())


def _write_thumbnail(small: Image.Image) -> bytes:
    buffer = io.BytesIO()
    plain = Image.frombytes("RGB", small.size, small.tobytes())  # nothing but pixels: no place, no camera, no comment
    plain.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    plain.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
