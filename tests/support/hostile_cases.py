"""Input that is large by what it claims: built on disk, met in a process of its own, judged by memory and processor.

    python hostile_cases.py FILE

builds nothing: it meets the file as a push or an inspection would, and prints one line of JSON with what was found.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atelier_contract.reasons import Finding
from hostile_tables import TABLE_CASES, TABLE_SUFFIXES, meet_table

MEMORY_MIB = 512
"""What any one file may cost; an inspection's pod has twice as much."""
SECONDS = 5
"""How long any one file may hold a person up."""
MILLION = 1_000_000


def build_tar_of_a_million(path: Path) -> None:
    """Write a tar.gz of a million empty files with names of their own."""
    header = np.frombuffer(tarfile.TarInfo("0000000.png").tobuf(tarfile.USTAR_FORMAT), np.uint8)
    checksum = int(header.astype(np.int64).sum()) - int(header[148:156].astype(np.int64).sum()) + 8 * 32 - 7 * 48
    with gzip.open(path, "wb", compresslevel=1) as file:
        for start in range(0, MILLION, 50_000):
            numbers = np.arange(start, start + 50_000)
            digits = (numbers[:, None] // 10 ** np.arange(6, -1, -1)) % 10 + 48
            sums = (checksum + digits.sum(axis=1))[:, None] // 8 ** np.arange(5, -1, -1) % 8 + 48
            blocks = np.tile(header, (len(numbers), 1))
            blocks[:, :7], blocks[:, 148:154] = digits, sums
            file.write(blocks.tobytes())
        file.write(bytes(1024))


def build_zip_of_a_million(path: Path) -> None:
    """Write a zip whose directory has a million entries, all of one file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0000000.png", b"")
    data = path.read_bytes()
    start = data.find(b"PK\x01\x02")
    entry = data[start : data.find(b"PK\x05\x06")]
    directory = b"".join(entry.replace(b"0000000", b"%07d" % number) for number in range(MILLION))
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, MILLION, MILLION, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:start] + directory + record + locator + end)


def build_gzip_bomb(path: Path) -> None:
    """Write a tar.gz of one file of 4 GiB of zeros, a thousandth of that in size."""
    info = tarfile.TarInfo("a.png")
    info.size = 4 << 30
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(info.tobuf(tarfile.PAX_FORMAT))
    packed = gzip.compress(bytes(64 << 20), 9)
    with path.open("ab") as file:
        for _ in range(64):
            file.write(packed)
        file.write(gzip.compress(bytes(1024)))


def build_zip_bomb(path: Path) -> None:
    """Write a zip of four files of 64 MiB of zeros, a thousandth of that in size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.png", bytes(64 << 20))


def build_deep_path(path: Path) -> None:
    """Write a tar.gz of one file in a hundred thousand folders."""
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a/" * 100_000 + "b.png"))


def build_deep_zip(path: Path) -> None:
    """Write a zip of one file in as many folders as a name in it can hold."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/" * 32_000 + "b.png", b"")


def build_deep_paths(path: Path) -> None:
    """Write a tar.gz of 3,000 files, each in 440 folders of its own, whose paths are as long as is allowed."""
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT, compresslevel=1) as archive:
        for number in range(3_000):
            archive.addfile(tarfile.TarInfo(f"{number}/" + "a/" * 440 + "b.png"))


def build_digits(path: Path) -> None:
    """Write a tar whose extended header is 80,000 digits."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 80_384
    entry = tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + b"1" * header.size + entry + bytes(1024))


def build_holes(path: Path) -> None:
    """Write a tar of a file that has seven million holes."""
    header = tarfile.TarInfo("a.png")
    header.type = tarfile.GNUTYPE_SPARSE
    told = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    told[386:482], told[482], told[148:156] = b"00000000001\0" * 8, 1, b" " * 8
    told[148:156] = b"%06o\0 " % sum(told)
    more = (b"00000000001\0" * 42 + b"\1").ljust(512, b"\0")
    path.write_bytes(told + more * 350_000 + bytes(512 + 1024))


def build_zip_of_fields(path: Path) -> None:
    """Write a zip of 60 files, each with 16,000 empty fields."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(60):
            info = zipfile.ZipInfo(f"{number}.png")
            info.extra = b"\x99\x99\0\0" * 16_000
            archive.writestr(info, b"")


def build_png_bomb(path: Path, depth: int = 8, width: int = 9000, height: int = 8800) -> None:
    """Write a PNG with four channels that decodes to a hundredfold, as large as is decoded or larger."""
    header = struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0)
    row, packer = b"\x02" + bytes(width * depth // 2), zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunks((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))))


def build_deep_png(path: Path) -> None:
    """Write the same with 16 bits a channel."""
    build_png_bomb(path, depth=16)


def build_film(path: Path) -> None:
    """Write an animated WebP of 100,000 frames."""
    from hostile_files import build_film_webp

    path.write_bytes(build_film_webp(100_000))


def build_told_film(path: Path) -> None:
    """Write an animated PNG that has 100,000 frames, and says so."""
    from hostile_files import build_film_png

    path.write_bytes(build_film_png(2, told=100_000))


def build_untold_film(path: Path) -> None:
    """Write an animated PNG of 100,000 frames that says it has two."""
    from hostile_files import build_film_png

    frame = b"".join(_chunks((b"fcTL", bytes(26)), (b"fdAT", bytes(16))))
    data = build_film_png(2)
    path.write_bytes(data[:-12] + frame * 100_000 + data[-12:])


def build_wide_png(path: Path, name: bytes = b"IDAT") -> None:
    """Write a small PNG with a chunk of 400 MiB, which is a hole on the disk."""
    from picture_files import draw_png

    data, begin, length = draw_png(), 8 + 25, 400 << 20
    with path.open("wb") as file:
        file.write(data[:begin] + struct.pack(">I", length) + name)
        file.seek(length + 4, os.SEEK_CUR)
        file.write(data[begin:])


def build_heavy_png(path: Path) -> None:
    """Write a PNG of 79 megapixels with 330 MiB of nothing behind its pixels, in the same chunk."""
    build_png_bomb(path)
    data, length = path.read_bytes(), 330 << 20
    begin, end = data.find(b"IDAT"), len(data) - 16
    with path.open("wb") as file:
        file.write(data[: begin - 4] + struct.pack(">I", length) + data[begin:end])
        file.seek(begin + 4 + length + 4)
        file.write(data[-12:])


def build_png_of_notes(path: Path) -> None:
    """Write a small PNG with 400 MiB of something else."""
    build_wide_png(path, b"noTe")


def build_filled_jpeg(path: Path, between: bytes = b"\xff" * (32 << 20)) -> None:
    """Write a small JPEG with 32 MiB of fill before its first segment, or with something else there."""
    from picture_files import draw_jpeg

    data = draw_jpeg()
    path.write_bytes(data[:2] + between + data[2:])


def build_jpeg_of_markers(path: Path) -> None:
    """Write the same with markers that stand alone and look like segments of 64 KiB, of which there are none."""
    build_filled_jpeg(path, (b"\xff\xd0\xff\xfd" + bytes(65_531)) * 500)


def build_jpeg_of_exif(path: Path) -> None:
    """Write the same with 500 segments of EXIF."""
    build_filled_jpeg(path, (b"\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08" + bytes(65_519)) * 500)


def build_scans(path: Path) -> None:
    """Write a progressive JPEG of 59 megapixels whose scans come again and again."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (7700, 7700), (9, 100, 200)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    first = data.find(b"\xff\xda")
    after = data.find(b"\xff\xc4", first)
    path.write_bytes(data[:first] + data[first:after] * 60 + data[after:])


def build_webp(path: Path) -> None:
    """Write a WebP with transparency as large as is decoded."""
    from PIL import Image

    Image.new("RGBA", (5000, 4000), (9, 100, 200, 128)).save(path, "WEBP", method=0)


def build_heic(path: Path) -> None:
    """Write a HEIC as large as is decoded."""
    import pillow_heif
    from PIL import Image

    pillow_heif.from_pillow(Image.new("RGB", (8000, 6200), (9, 100, 200))).save(path, quality=30)


def build_avif(path: Path) -> None:
    """Write an AVIF with transparency as large as is decoded."""
    from PIL import Image

    Image.new("RGBA", (6400, 5000), (9, 100, 200, 128)).save(path, "AVIF", speed=10, quality=30)


def build_polyglot(path: Path) -> None:
    """Write a JPEG and a zip in one file."""
    from hostile_files import ZIP
    from picture_files import draw_jpeg

    path.write_bytes(draw_jpeg() + ZIP)


def _chunks(*named: tuple[bytes, bytes]) -> Iterator[bytes]:
    for name, data in named:
        yield struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


CASES: dict[str, tuple[str, Callable[[Path], None], Finding | None]] = {
    "tar of a million entries": ("a.tar.gz", build_tar_of_a_million, Finding.ARCHIVE_TOO_MANY_FILES),
    "zip of a million entries": ("a.zip", build_zip_of_a_million, Finding.ARCHIVE_TOO_MANY_FILES),
    "tar.gz of 1:1000": ("a.tar.gz", build_gzip_bomb, Finding.ARCHIVE_BOMB),
    "zip of 1:1000": ("a.zip", build_zip_bomb, Finding.ARCHIVE_BOMB),
    "tar.gz of 100,000 folders": ("a.tar.gz", build_deep_path, Finding.ARCHIVE_BOMB),
    "zip of 32,000 folders": ("a.zip", build_deep_zip, Finding.NAME_TOO_LONG),
    "tar.gz of 1,300,000 folders": ("a.tar.gz", build_deep_paths, Finding.ARCHIVE_TOO_MANY_FILES),
    "tar with a header of digits": ("a.tar", build_digits, Finding.ARCHIVE_UNREADABLE),
    "tar of seven million holes": ("a.tar", build_holes, Finding.ARCHIVE_UNREADABLE),
    "zip of a million fields": ("a.zip", build_zip_of_fields, Finding.ARCHIVE_BOMB),
    "png of 79 megapixels": ("a.png", build_png_bomb, None),
    "png of 79 megapixels, 16 bits": ("a.png", build_deep_png, None),
    "webp of 20 megapixels": ("a.webp", build_webp, None),
    "avif of 32 megapixels": ("a.avif", build_avif, None),
    "webp of 100,000 frames": ("a.webp", build_film, Finding.TOO_MANY_FRAMES),
    "png of 100,000 frames": ("a.png", build_told_film, Finding.TOO_MANY_FRAMES),
    "png of 100,000 frames untold": ("a.png", build_untold_film, Finding.TOO_MANY_FRAMES),
    "png of 400 MiB of pixels": ("a.png", build_wide_png, Finding.PICTURE_BOMB),
    "png of 79 megapixels and 330 MiB": ("a.png", build_heavy_png, Finding.PICTURE_BOMB),
    "png of 400 MiB beside pixels": ("a.png", build_png_of_notes, Finding.PICTURE_BOMB),
    "jpeg of fill": ("a.jpg", build_filled_jpeg, Finding.PICTURE_BOMB),
    "jpeg of lone markers": ("a.jpg", build_jpeg_of_markers, Finding.PICTURE_BOMB),
    "jpeg of much exif": ("a.jpg", build_jpeg_of_exif, Finding.PICTURE_BOMB),
    "jpeg of many scans": ("a.jpg", build_scans, Finding.PICTURE_BOMB),
    "jpeg and zip": ("a.jpg", build_polyglot, Finding.POLYGLOT_PICTURE),
    **TABLE_CASES,
}
"""Name, file, how it is built, and what is found, which may be why an entry is left out; None: it is a picture, the
heaviest that is taken."""
SLOW_CASES: dict[str, tuple[str, Callable[[Path], None], Finding | None]] = {
    "heic of 50 megapixels": ("a.heic", build_heic, None),
}
"""Half a minute to build: for the benchmark alone."""


@dataclass(frozen=True)
class Met:
    """What became of a process that met a file."""

    found: str | None
    peak_mib: int
    cpu_seconds: float
    seconds: float


def meet_apart(path: Path, timeout_seconds: float) -> Met:
    """Meet a file in a process of its own, and return what it found and needed, its start included."""
    begun = time.monotonic()
    support = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, __file__, str(path)],
        capture_output=True, text=True, check=False, timeout=timeout_seconds, env={**os.environ, "PYTHONPATH": support},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Met(**json.loads(done.stdout), seconds=round(time.monotonic() - begun, 2))


def meet(path: Path) -> Finding | None:
    """Meet a file as a push or an inspection would, and return what is found."""
    from atelier_materials.dataset.archives import is_archive, unpack
    from atelier_materials.dataset.pictures import PictureRefused, look_at_picture
    from atelier_materials.errors import ArchiveRefused

    if path.suffix in TABLE_SUFFIXES:
        return meet_table(path)
    try:
        if is_archive(path):
            with tempfile.TemporaryDirectory() as folder:
                left_out = unpack(path, Path(folder))
            return left_out[0].finding if left_out else None
        look_at_picture(path)
    except (ArchiveRefused, PictureRefused) as refused:
        return refused.finding
    return None


if __name__ == "__main__":
    found = meet(Path(sys.argv[1]))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = round(usage.ru_utime + usage.ru_stime, 2)
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())  # of this program, not of its parent
    print(json.dumps({"found": found, "peak_mib": int(peak[1]) // 1024 if peak else 0, "cpu_seconds": cpu_seconds}))
