"""What a picture's file is made of, read from its bytes before any decoder sees them.

The format is known by the first bytes, never by the name. Sizes, frames and scans are counted here, because a decoder
may reserve memory for a picture, or walk a hundred thousand frames, before it can be asked how large it is. What lies
in the file beside the picture is looked at too: an archive, a web page or a program that wears a picture's coat is
refused; the films and second pictures that telephones append are not.

In: the mapped bytes of a file. Out: an `Anatomy`, or a refusal. Decodes nothing; every loop here is bounded.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from enum import StrEnum

from atelier_contract.reasons import Finding

MAX_FRAMES = 1000
"""More than half a minute of film is no picture."""
MAX_CHUNKS = 100_000
"""Of a PNG: 800 MB in the smallest chunks that encoders write (8 KiB)."""
MAX_SEGMENTS = 4_000
"""Of other containers, and of what is not pixels in a PNG. Profiles and previews make some hundred at most."""
MAX_BESIDE_BYTES = 16 << 20
"""Of a JPEG before its pixels, of a PNG beside them: decoders keep it in memory, in some cases each piece joined to all
before. Profiles and previews make some megabytes."""
MAX_HELD_BYTES = 400 << 20
"""Of a PNG's pixels, four bytes for each, and of what its chunk holds behind them, which the decoder reads at once."""
MAX_SCANS = 100
"""Of a JPEG: progressive encoders write about 10. Each scan costs the whole picture's time (libjpeg-turbo's advice)."""
Bytes = bytes | mmap.mmap


class Kind(StrEnum):
    """Formats that are taken, by the names of their decoders in Pillow."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"
    AVIF = "AVIF"
    HEIF = "HEIF"


PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
HEAD_BYTES = 64
"""Enough for any magic, and for the list of brands that AVIF and HEIC open with."""
AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
"""ISO/IEC 23008-12, annexes B and F."""
FRAME_OF_JPEG = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that open a frame: SOF0 to SOF15 (ITU T.81, table B.1)."""
START_OF_SCAN = b"\xff\xda"
SEGMENT = re.compile(rb"\xff[\x02-\xcf\xda-\xfe]")
"""What opens a segment: no fill, no escaped byte, no marker that stands alone (TEM, RST0 to 7, SOI, EOI). Decoders pass
over everything else."""
MAX_FILL_BYTES = 64 << 10
"""Between the segments of a JPEG, of all together. The standard allows any number; encoders that round up where a
segment begins write less than 4 KiB, and the decoder's own search takes a second for every few megabytes."""
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

PAYLOADS = (
    b"<script", b"<SCRIPT", b"<html", b"<HTML", b"<!doctype", b"<!DOCTYPE h", b"<?php", b"%PDF-1",
    b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c",
)  # fmt: skip
"""What no picture holds anywhere: long enough not to come about by chance in compressed bytes."""
PROGRAMS = (b"MZ", b"\x7fELF", b"#!", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK")
"""What may not begin where the picture ends."""
WINDOW_BYTES = 1 << 20
"""What is searched before the pixels, behind them and at the end: web pages are recognised by their first 1,445 bytes,
zips by their last 65,557."""
END_OF_ZIP, ENTRY_OF_ZIP = b"PK\x05\x06", b"PK\x01\x02"
END_OF_ZIP_BYTES = 22
LONGEST_COMMENT_BYTES = 65_535
"""APPNOTE 6.3, section 4.3.16: a zip is read from its end."""


class PictureRefused(Exception):
    """The file is no picture that can be trained on. Never leaves the inspection: it becomes a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


@dataclass(frozen=True)
class Anatomy:
    """What the bytes of a file say of the picture in it."""

    kind: Kind
    width_px: int = 0
    """Before orientation; 0 where only the decoder can tell."""
    height_px: int = 0
    frames: int = 1
    is_progressive: bool = False
    """JPEG: all coefficients are held at once."""
    scans: int = 1
    """JPEG: how often the decoder passes over the picture."""
    body: tuple[int, int] = (0, 0)
    """Where the compressed pixels begin and end; what lies outside is said about the picture, or has nothing to do with
    it."""
    end: int = 0
    """Where the picture ends and something else may begin."""

    @property
    def pixels(self) -> int:
        """How many there are; 0 where only the decoder can tell."""
        return self.width_px * self.height_px


def recognise(head: bytes) -> Kind:
    """Return the format of a file by its first `HEAD_BYTES` bytes. Raises PictureRefused for any other."""
    if not head:
        raise PictureRefused(Finding.UNREADABLE_PICTURE)
    if head.startswith(PNG_MAGIC):
        return Kind.PNG
    if head.startswith(JPEG_MAGIC):
        return Kind.JPEG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Kind.WEBP
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4]), HEAD_BYTES)
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
        if brands & AVIF_BRANDS:
            return Kind.AVIF
        if brands & HEIF_BRANDS:
            return Kind.HEIF
    raise PictureRefused(Finding.FORMAT_NOT_ALLOWED)


def read_anatomy(data: Bytes) -> Anatomy:
    """Return what a file is made of.

    Raises:
        PictureRefused: it is no picture of a known format, one that nobody should decode, or more than a picture.
    """
    kind = recognise(data[:HEAD_BYTES])
    try:
        read = {Kind.PNG: _read_png, Kind.JPEG: _read_jpeg, Kind.WEBP: _read_webp}.get(kind)
        anatomy = read(data) if read else _read_boxes(data, kind)
    except (struct.error, IndexError) as error:
        raise PictureRefused(Finding.UNREADABLE_PICTURE) from error
    if anatomy.frames > MAX_FRAMES:
        raise PictureRefused(Finding.TOO_MANY_FRAMES)
    if _holds_payload(data, anatomy):
        raise PictureRefused(Finding.POLYGLOT_PICTURE)
    return anatomy


def _read_png(data: Bytes) -> Anatomy:
    """Walk the chunks: length, name, contents, check (PNG, third edition, section 5.3)."""
    width, height = struct.unpack_from(">II", data, 16)
    at, frames, others, beside, body = len(PNG_MAGIC), 1, 0, 0, (len(data), 0)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):  # cut off: the decoder will say so
            return Anatomy(Kind.PNG, width, height, frames, body=body, end=len(data))
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"acTL":
            (frames,) = struct.unpack_from(">I", data, at + 8)
            if frames > MAX_FRAMES:
                raise PictureRefused(Finding.TOO_MANY_FRAMES)
        there, most = min(length, len(data) - at), MAX_BESIDE_BYTES
        if name == b"IDAT":
            if at < body[0]:  # only the first may be large: some encoders write one alone
                most = max(most, MAX_HELD_BYTES - 4 * width * height)
            body = (min(body[0], at), at + 12 + length)
        else:
            others += 1
        beside += 0 if name in {b"IDAT", b"fdAT"} else there
        if max(there, beside) > most:
            raise PictureRefused(Finding.PICTURE_BOMB)
        at += 12 + length
        if name == b"IEND":
            return Anatomy(Kind.PNG, width, height, frames, body=body, end=at)
        if others > MAX_SEGMENTS:
            break
    raise PictureRefused(Finding.TOO_MANY_FRAMES if frames > 1 else Finding.PICTURE_BOMB)


def _read_jpeg(data: Bytes) -> Anatomy:
    """Walk the segments up to the first scan; from there on, markers stand out by themselves (ITU T.81, B.1.1)."""
    if data[4:6] == b"/*":  # a first segment of 12,074 bytes has another purpose: it opens a comment in a script
        raise PictureRefused(Finding.POLYGLOT_PICTURE)
    at, width, height, progressive, fill = 2, 0, 0, False, 0
    for _ in range(MAX_SEGMENTS):
        found = SEGMENT.search(data, at, at + MAX_FILL_BYTES)
        if found is None:
            is_cut_off = at + MAX_FILL_BYTES >= len(data)
            raise PictureRefused(Finding.UNREADABLE_PICTURE if is_cut_off else Finding.PICTURE_BOMB)
        fill += found.start() - at
        at = found.start()
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker in FRAME_OF_JPEG:
            height, width = struct.unpack_from(">HH", data, at + 5)
            progressive = marker in PROGRESSIVE
        at += 2 + length
        if fill > MAX_FILL_BYTES or at > MAX_BESIDE_BYTES:
            raise PictureRefused(Finding.PICTURE_BOMB)
        if marker == START_OF_SCAN[1]:
            break
    else:
        raise PictureRefused(Finding.PICTURE_BOMB)
    closing = data.find(b"\xff\xd9", at)
    end = len(data) if closing < 0 else closing + 2
    scans = _count_scans(data, at, end)
    return Anatomy(Kind.JPEG, width, height, is_progressive=progressive, scans=scans, body=(at, end), end=end)


def _count_scans(data: Bytes, start: int, end: int) -> int:
    for scans in range(1, MAX_SCANS + 1):
        start = data.find(START_OF_SCAN, start, end) + 1
        if start == 0:
            return scans
    raise PictureRefused(Finding.PICTURE_BOMB)


def _read_webp(data: Bytes) -> Anatomy:
    """Walk the chunks of the RIFF container (RFC 9649, section 2.7)."""
    (size,) = struct.unpack_from("<I", data, 4)
    end = min(len(data), size + 8)
    at, frames, others, width, height, body = 12, 0, 0, 0, 0, (end, 0)
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"VP8X":
            width, height = (int.from_bytes(data[at + place : at + place + 3], "little") + 1 for place in (12, 15))
        elif name == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, at + 14))
        elif name == b"VP8L" and not width:
            (packed,) = struct.unpack_from("<I", data, at + 9)
            width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        if name in {b"VP8 ", b"VP8L", b"ALPH", b"ANMF"}:
            body = (min(body[0], at), min(end, at + 8 + length))
        frames += name == b"ANMF"
        others += name != b"ANMF"
        if frames > MAX_FRAMES:
            raise PictureRefused(Finding.TOO_MANY_FRAMES)
        if others > MAX_SEGMENTS:
            raise PictureRefused(Finding.PICTURE_BOMB)
        at += 8 + length + length % 2
    return Anatomy(Kind.WEBP, width, height, max(frames, 1), body=body, end=end)


def _read_boxes(data: Bytes, kind: Kind) -> Anatomy:
    """Walk the outermost boxes of AVIF and HEIC (ISO/IEC 14496-12, section 4.2)."""
    at, body = 0, (len(data), 0)
    for _ in range(MAX_SEGMENTS):
        if at + 8 > len(data):
            return Anatomy(kind, body=body, end=len(data))
        length, name = struct.unpack_from(">I4s", data, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length == 0:
            length = len(data) - at
        if length < 8 or not name.isascii() or not name.decode("ascii").isprintable():
            return Anatomy(kind, body=body, end=at)
        if name == b"mdat":
            body = (min(body[0], at), at + length)
        at += length
    raise PictureRefused(Finding.PICTURE_BOMB)


def _holds_payload(data: Bytes, anatomy: Anatomy) -> bool:
    """Tell whether another kind of reader would find something of its own in the file.

    Looked at is what lies before and behind the pixels, and the end: whoever reads web pages, scripts or archives out
    of a foreign file looks there.
    """
    begin, end = anatomy.body
    windows = (
        data[: min(begin, WINDOW_BYTES)],
        data[end : end + WINDOW_BYTES],
        data[max(end, len(data) - WINDOW_BYTES) :],
    )
    if any(payload in window for payload in PAYLOADS for window in windows):
        return True
    rest = data[anatomy.end : anatomy.end + 4096].lstrip(b"\0\r\n\t ")
    return rest.startswith(PROGRAMS) or _is_zip(data)


def _is_zip(data: Bytes) -> bool:
    """Tell whether readers of zip would find a list of entries here."""
    at = data.rfind(END_OF_ZIP, max(0, len(data) - END_OF_ZIP_BYTES - LONGEST_COMMENT_BYTES))
    if at < 0 or at + END_OF_ZIP_BYTES > len(data):
        return False
    (size,) = struct.unpack_from("<I", data, at + 12)
    return size == 0 or data[max(0, at - size) : at].startswith(ENTRY_OF_ZIP)
