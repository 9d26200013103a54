"""Picture files, good and bad, as bytes."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageCms


def draw_png(width: int = 80, height: int = 64, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """Return a plain PNG."""
    return _save(Image.new("RGB", (width, height), colour), "PNG")


def draw_jpeg(width: int = 80, height: int = 64, orientation: int | None = None) -> bytes:
    """Return a JPEG of noise, so that it has bytes enough to cut; with an EXIF orientation if told."""
    picture = Image.effect_noise((width, height), 80).convert("RGB")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return _save(picture, "JPEG", exif=exif)


def draw_webp(frames: int = 1) -> bytes:
    """Return a WebP, animated where it has several frames."""
    first, *rest = [Image.new("RGB", (80, 64), (i * 60 % 256, 10, 10)) for i in range(frames)]
    return _save(first, "WEBP", save_all=frames > 1, append_images=rest)


def draw_gif() -> bytes:
    """Return a GIF: a picture, of a format that is not taken."""
    return _save(Image.new("P", (80, 64)), "GIF")


def build_bomb(width: int = 20_000, height: int = 10_000) -> bytes:
    """Return a PNG of a few bytes whose header says 200 megapixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def build_webp_bomb(width: int = 16_000, height: int = 16_000) -> bytes:
    """Return a WebP of a few bytes whose header says 256 megapixels."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + _u24(width - 1) + _u24(height - 1)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 64\n%%EndComments\n(ran) print\nshowpage\n"
"""A PostScript program, which a careless reader would hand to an interpreter."""


def _build_matrix_profile() -> bytes:
    """Return a profile of a wider space than sRGB: its own, with the columns of red and green moved outwards."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (0.6097, 0.3111, 0.0195), b"gXYZ": (0.2053, 0.6257, 0.0609), b"bXYZ": (0.1492, 0.0632, 0.7446)}
    (count,) = struct.unpack_from(">I", data, 128)
    for entry in range(count):
        name, at, _ = struct.unpack_from(">4sII", data, 132 + 12 * entry)
        if name in columns:
            struct.pack_into(">iii", data, at + 8, *(round(value * 65536) for value in columns[name]))
    return bytes(data)


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE_PROFILE = _build_matrix_profile()
"""With the primaries of Adobe RGB (1998), adapted to the profile's white, as that specification prints them."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _u24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def _save(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
