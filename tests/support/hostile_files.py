"""Files that nobody should have to open: films, bombs and pictures that are more than that, as bytes."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib

from PIL import Image

from picture_files import draw_jpeg

Packed = dict[str, bytes] | list[tuple[str, bytes, dict[str, object]]]
"""Files of an archive by their names; or one after another, each with what its tar header says besides."""


def build_zip(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def build_tar(files: Packed, packing: str = "") -> bytes:
    """Return a tar of these files, packed as `gz`, `bz2`, `xz` or not at all."""
    buffer = io.BytesIO()
    entries = [(name, data, {}) for name, data in files.items()] if isinstance(files, dict) else files
    with tarfile.open(fileobj=buffer, mode=f"w:{packing}") as archive:
        for name, data, header in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in header.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ZIP = build_zip({"evil.html": b"<b>"})


def build_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def build_png(png: bytes, first: bytes = b"", last: tuple[bytes, bytes] | None = None) -> bytes:
    """Return a PNG with raw chunks before its pixels, and a named one before its end."""
    header, end = 8 + 25, len(png) - 12
    return png[:header] + first + png[header:end] + (build_chunk(*last) if last else b"") + png[end:]


def build_film_png(frames: int, told: int | None = None) -> bytes:
    """Return an animated PNG that tells of so many frames, whatever it has."""
    pictures = [Image.new("RGB", (80, 64), (10 * i, 0, 0)) for i in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:])
    data = bytearray(buffer.getvalue())
    if told is not None:
        at = data.find(b"acTL")
        body = struct.pack(">II", told, 0)
        data[at + 4 : at + 16] = body + struct.pack(">I", zlib.crc32(b"acTL" + body))
    return bytes(data)


def build_film_webp(frames: int) -> bytes:
    """Return an animated WebP whose one small frame comes so many times."""
    pictures = [Image.new("RGB", (80, 64), (10 * i, 0, 0)) for i in range(2)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:])
    data = buffer.getvalue()
    first = data.find(b"ANMF")
    (length,) = struct.unpack_from("<I", data, first + 4)
    frame = data[first : first + 8 + length + length % 2]
    body = data[12:first] + frame * frames
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def build_scans_jpeg(scans: int) -> bytes:
    """Return a progressive JPEG that repeats its first scan."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(draw_jpeg())).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first = data.find(b"\xff\xda")
    after = data.find(b"\xff\xc4", first)
    return data[:first] + data[first:after] * scans + data[after:]
