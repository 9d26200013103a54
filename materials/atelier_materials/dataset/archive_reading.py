"""The files in a zip or tar, one after another, within bounds of memory, bytes and number.

What an entry is, is judged here: links, devices, encryption, sizes, how many there are. Where it may lie is `archives`'
business. In: the path of an archive. Out: its regular files, or a refusal that names what is wrong.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import IO, Any, Protocol, cast

from atelier_contract.reasons import Finding
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.naming import escape_name
from atelier_materials.errors import ArchiveRefused
from atelier_materials.store.protocol import CHUNK_BYTES

ZIP_MAGIC, GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
USTAR_AT, USTAR_MAGIC = 257, b"ustar"
"""POSIX.1, pax: the header of a tar's first entry."""
BLOCK_BYTES = 512
MAX_READ_BYTES = 8 << 20
"""Of a tar at once: its own parser asks for a whole extended header, which says how long it is."""
MAX_SHARED_FIELDS = 64
"""That a tar's global headers may set for all entries, each of which gets a copy. `git archive` sets one."""
XZ_MEMORY_BYTES = 128 << 20
"""`xz -9` needs 65 MiB to unpack."""
READ_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Of the others the library unpacks all that it has read at once: 400 bytes of bzip2 become half a gigabyte."""
ENCRYPTED_FLAG = 0x1  # APPNOTE 6.3, section 4.4.4
ENTRY_OF_ZIP, END_OF_ZIP_64 = b"PK\x01\x02", b"PK\x06\x06"
END_OF_ZIP_64_BYTES = 56 + 20
"""Of the wide end record and its locator, which lie between the directory and the end record."""
MAX_ENTRY_BYTES = 1 << 10
"""Of a zip's directory for each entry that is allowed: 46 bytes, a long name and further fields."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much of an archive is believed."""

    entries: int = 60_000
    bytes: int = 256 << 30
    ratio: int = 100
    """Unpacked to packed, of the whole. Pictures are packed already: theirs is about 1."""
    free_bytes: int = 16 << 20
    """Up to here no ratio counts: a few captions in a small archive are no bomb."""


@dataclass(frozen=True)
class Entry:
    """A file in an archive."""

    name: str
    open: Callable[[], IO[bytes]]
    """To be read before the next entry is asked for."""


class _Source(Protocol):
    """Bytes that are read forwards, a part at a time."""

    def read(self, size: int, /) -> bytes: ...


def refuse(path: Path, finding: Finding, what: str, entry: str = "") -> ArchiveRefused:
    """Return the refusal of an archive, by the name of what is wrong with it."""
    where = f", entry {escape_name(entry)[:200]}," if entry else ""
    return ArchiveRefused(finding, f"{finding}: {escape_name(path.name)}{where} {what}: {FileFound(finding, '').fix}")


class Budget:
    """How many bytes an archive may still become."""

    def __init__(self, path: Path, limits: ArchiveLimits, free_bytes: int) -> None:
        self.path, self.limits = path, limits
        self._most = min(limits.bytes, free_bytes, max(limits.free_bytes, limits.ratio * path.stat().st_size))
        self._spent = 0

    def spend(self, count: int, entry: str = "") -> None:
        """Count bytes that come out. Raises ArchiveRefused where they are too many."""
        self._spent += count
        if self._spent > self._most:
            raise refuse(self.path, Finding.ARCHIVE_BOMB, f"would become more than {self._most:,} bytes", entry)


def choose_reader(path: Path) -> Callable[[Budget], Iterator[Entry]]:
    """Return what reads this kind of archive. Raises ArchiveRefused where it is of none that is known."""
    with path.open("rb") as file:
        head = file.read(BLOCK_BYTES)
    if head.startswith(ZIP_MAGIC):
        return _read_zip
    packed = head.startswith((GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC))
    if packed or head[USTAR_AT:].startswith(USTAR_MAGIC) or path.name.lower().endswith(".tar"):
        return _read_tar
    raise refuse(path, Finding.ARCHIVE_UNREADABLE, "is neither a zip nor a tar of a known kind")


def _read_zip(budget: Budget) -> Iterator[Entry]:
    """Yield the files of a zip, each judged by what its directory says of it."""
    path = budget.path
    _count_zip(path, budget.limits)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = S_IFMT(info.external_attr >> 16)
            if info.is_dir() or mode == S_IFDIR:
                continue
            if mode not in {0, S_IFREG}:
                finding = Finding.ARCHIVE_LINK if mode == S_IFLNK else Finding.ARCHIVE_DEVICE
                raise refuse(path, finding, "is no file", info.orig_filename)
            if info.flag_bits & ENCRYPTED_FLAG:
                raise refuse(path, Finding.ARCHIVE_ENCRYPTED, "is encrypted", info.orig_filename)
            if info.compress_type not in READ_METHODS:
                raise refuse(path, Finding.ARCHIVE_UNREADABLE, "is packed in a rare way", info.orig_filename)
            budget.spend(info.file_size, info.orig_filename)
            yield Entry(info.orig_filename, partial(archive.open, info))


def _count_zip(path: Path, limits: ArchiveLimits) -> None:
    """Refuse a directory of too many entries before the library keeps an object for each.

    Where the directory lies is what the library itself takes for it: an archive can say so in several places, and a
    reading of our own would count another directory than the one that is unpacked.
    """
    with path.open("rb") as file:
        end = cast("Any", zipfile)._EndRecData(file)  # noqa: SLF001  (there is no public way to its reading)
        if end is None:
            raise zipfile.BadZipFile
        signature, length, at = end[0], end[5], end[9]
        most = limits.entries * MAX_ENTRY_BYTES
        start = at - length - (END_OF_ZIP_64_BYTES if signature == END_OF_ZIP_64 else 0)
        file.seek(max(0, start))
        entries = file.read(min(length, most)).count(ENTRY_OF_ZIP)
    if length > most or entries > limits.entries:
        raise refuse(path, Finding.ARCHIVE_TOO_MANY_FILES, f"has more than {limits.entries:,} entries")


def _read_tar(budget: Budget) -> Iterator[Entry]:
    """Yield the files of a tar, each judged by its header."""
    path, limits = budget.path, budget.limits
    with path.open("rb") as file:
        stream = _Forwards(_unpack_stream(file), budget)
        archive = tarfile.TarFile(fileobj=cast("IO[bytes]", stream))  # of a file it needs read, seek and tell
        count = 0
        while (info := archive.next()) is not None:
            count += 1
            cast("Any", archive).members.clear()  # untyped; else the library keeps every header, to find names in
            if len(archive.pax_headers) > MAX_SHARED_FIELDS:
                raise refuse(path, Finding.ARCHIVE_BOMB, f"says {len(archive.pax_headers):,} things of every entry")
            if count > limits.entries:
                raise refuse(path, Finding.ARCHIVE_TOO_MANY_FILES, f"has more than {limits.entries:,} entries")
            if info.issym() or info.islnk():
                raise refuse(path, Finding.ARCHIVE_LINK, "is a link", info.name)
            if info.isdev():
                raise refuse(path, Finding.ARCHIVE_DEVICE, "is a device", info.name)
            if info.issparse():
                raise refuse(path, Finding.ARCHIVE_UNREADABLE, "is packed with holes", info.name)
            if info.isreg():
                yield Entry(info.name, partial(_open_member, archive, info))
        if not stream.ended_well:
            raise tarfile.ReadError


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    member = archive.extractfile(info)
    if member is None:  # never of a regular file
        raise tarfile.ReadError
    return member


def _unpack_stream(file: IO[bytes]) -> _Source:
    head = file.read(len(XZ_MAGIC))
    file.seek(0)
    if head.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(BZIP2_MAGIC):
        return bz2.BZ2File(file)
    return _Xz(file) if head.startswith(XZ_MAGIC) else file


class _Xz:
    """An xz stream, unpacked within bounded memory: the library's own file class has no such bound."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

    def read(self, size: int, /) -> bytes:
        """Return some bytes, at most so many; none at the end. Raises EOFError where the stream breaks off."""
        while True:
            packed = b""
            if self._decoder.eof:
                packed = self._decoder.unused_data.lstrip(b"\0") or self._file.read(CHUNK_BYTES).lstrip(b"\0")
                if not packed:
                    return b""
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
            elif self._decoder.needs_input:
                packed = self._file.read(CHUNK_BYTES)
                if not packed:
                    raise EOFError
            data = self._decoder.decompress(packed, size)
            if data:
                return data


class _Forwards:
    """What the parser of tars reads from: forwards alone, never much at once, every byte counted."""

    def __init__(self, source: _Source, budget: Budget) -> None:
        self._source, self._budget, self._at = source, budget, 0
        self.ended_well = False
        """The last block that was read is the empty one that ends a tar."""

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._at

    def seek(self, place: int, /) -> int:
        """Pass over what lies before a place further on."""
        if place < self._at:
            raise tarfile.ReadError
        while self._at < place:
            if not self.read(min(place - self._at, CHUNK_BYTES)):
                break
        return self._at

    def read(self, size: int, /) -> bytes:
        """Return so many bytes; fewer at the end."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise refuse(self._budget.path, Finding.ARCHIVE_BOMB, f"wants {size:,} bytes of memory for a header")
        parts, missing = [], size
        while missing and (part := self._source.read(min(missing, CHUNK_BYTES))):
            parts.append(part)
            missing -= len(part)
            self._budget.spend(len(part))
        data = b"".join(parts)
        self._at += len(data)
        self.ended_well = len(data) == BLOCK_BYTES and not any(data)
        return data
