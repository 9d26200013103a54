"""The files in a tar, one after another, forwards alone and within bounds of memory, bytes and number.

Of the library only the parser of one fixed header is used. Its reader of whole tars follows headers that belong to one
entry into any depth, searches them in time that grows with their square, and keeps lists of holes of any length.

In: the path of an archive, plain or packed. Out: its regular files, or a refusal that names what is wrong.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

from atelier_contract.reasons import Finding
from atelier_materials.dataset.archive_reading import Budget, Entry, refuse
from atelier_materials.store.protocol import CHUNK_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
BLOCK_BYTES = 512
LONG_NAMES, LONG_LINKS, SHARED = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE
EXTENDED = {LONG_NAMES, LONG_LINKS, SHARED, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
"""Kinds of headers that tell more of the entry after them."""
MAX_HEADER_BYTES = 16 << 10
"""Of a long name: a path that is kept has 900 bytes."""
MAX_FIELDS_BYTES = 1 << 20
"""Of a header of fields: Macs write what they know of a file there, twice, and a preview may be in it."""
MAX_FIELDS = 64
"""In one of these. `git archive` sets one, GNU tar and Python some five, Macs some ten."""
MAX_EXTENDED = 8
"""Of these before one entry: its fields, a long name, a long link, and before the first what all share."""
LENGTH_DIGITS = 7
"""Of a field's length: as many as `MAX_FIELDS_BYTES` needs."""
XZ_MEMORY_BYTES = 128 << 20
"""`xz -9` needs 65 MiB to unpack."""
GZIP_WRAPPED = 16
"""Added to the window, it tells zlib to expect gzip's header and check."""
PACKED_BYTES = 64 << 10
"""Read at once: what is left behind a stream is copied for the next one, of which there may be thousands."""
STREAM_BYTES = 4 << 10
"""What each further stream counts for: 20 bytes of gzip make an empty one, which costs time and gives no byte."""


class _Decoder(Protocol):
    """What unpacks one stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def read_tar(budget: Budget) -> Iterator[Entry]:
    """Yield the files of a tar, each judged by its header."""
    path, limits = budget.path, budget.limits
    with path.open("rb") as file:
        stream = _Forwards(_open_packed(file, budget.spend), budget)
        for count, info in enumerate(_read_headers(stream, path), 1):
            if count > limits.entries:
                raise refuse(path, Finding.ARCHIVE_TOO_MANY_FILES, f"has more than {limits.entries:,} entries")
            if info.issym() or info.islnk():
                raise refuse(path, Finding.ARCHIVE_LINK, "is a link", info.name)
            if info.isdev():
                raise refuse(path, Finding.ARCHIVE_DEVICE, "is a device", info.name)
            if info.isreg():
                yield Entry(info.name, partial(_open_contents, stream, info.size))


def _read_headers(stream: _Forwards, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield each entry's header with what the extended ones before it say; the stream is at its contents then."""
    told: dict[str, str] = {}
    extended = 0
    while any(block := stream.read(BLOCK_BYTES)) or len(block) < BLOCK_BYTES:  # an empty block is the end
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in EXTENDED:
            extended += 1
            if extended > MAX_EXTENDED:
                raise refuse(path, Finding.ARCHIVE_BOMB, f"has more than {MAX_EXTENDED} headers for one entry")
            told = {**_read_extended(stream, info, path), **told}  # the first to tell is believed, as elsewhere
            continue
        info.name, info.size = told.get("path", info.name), int(told.get("size", info.size))
        if info.type == tarfile.GNUTYPE_SPARSE or any(field.startswith("GNU.sparse.") for field in told):
            raise refuse(path, Finding.ARCHIVE_UNREADABLE, "is packed with holes", info.name)
        if info.size < 0:
            raise tarfile.ReadError
        has_contents = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        after = stream.at + (_fill(info.size) if has_contents else 0)
        yield info
        stream.skip_to(after)
        told, extended = {}, 0


def _read_extended(stream: _Forwards, info: tarfile.TarInfo, path: Path) -> dict[str, str]:
    """Return what an extended header says of the entry after it, by the names that pax gives it."""
    most = MAX_HEADER_BYTES if info.type in {LONG_NAMES, LONG_LINKS} else MAX_FIELDS_BYTES
    if not 0 <= info.size <= most:
        raise refuse(path, Finding.ARCHIVE_BOMB, f"wants {info.size:,} bytes of memory for a header")
    body = stream.read(_fill(info.size))[: info.size]
    if info.type == LONG_NAMES:
        return {"path": _decode(body.partition(b"\0")[0])}
    if info.type == LONG_LINKS:  # links are refused, whatever they point to
        return {}
    fields = _parse_fields(body, path)
    return {} if info.type == SHARED else fields  # nobody shares a name or a size, and nothing else is read


def _parse_fields(body: bytes, path: Path) -> dict[str, str]:
    """Return the fields of a pax header: length, blank, name, equals sign, value, end of line (POSIX.1, pax)."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + LENGTH_DIGITS + 1)
        digits = body[at : max(at, blank)]
        end = at + int(digits) if digits.isdigit() else 0
        name, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if not (equals and end <= len(body) and body[end - 1 : end] == b"\n"):
            raise tarfile.ReadError
        fields[_decode(name)] = _decode(value)
        if len(fields) > MAX_FIELDS:
            raise refuse(path, Finding.ARCHIVE_BOMB, f"says more than {MAX_FIELDS} things in one header")
        at = end
    return fields


def _decode(data: bytes) -> str:
    """Return a text; what is no UTF-8 becomes lone surrogates, by which names are known as unsafe."""
    return data.decode("utf-8", "surrogateescape")


def _fill(size: int) -> int:
    """Return how many bytes so many take in a tar, which counts in blocks."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _open_contents(stream: _Forwards, size: int) -> IO[bytes]:
    return cast("IO[bytes]", _Contents(stream, size))  # of a file it has what a reader needs


class _Contents(io.RawIOBase):
    """The next bytes of a tar, as a file of its own."""

    def __init__(self, stream: _Forwards, size: int) -> None:
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer, and return with how many bytes. Raises EOFError where the tar breaks off."""
        view = memoryview(buffer)
        data = self._stream.read(min(len(view), self._left))
        if not data and self._left and view:
            raise EOFError
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _open_packed(file: IO[bytes], spend: Callable[[int], None]) -> IO[bytes]:
    """Return what is packed in a file, or the file itself where nothing is."""
    head = file.read(len(XZ_MAGIC))
    file.seek(0)
    decoders: dict[bytes, Callable[[], _Decoder]] = {
        GZIP_MAGIC: _Gzip,
        BZIP2_MAGIC: bz2.BZ2Decompressor,
        XZ_MAGIC: partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY_BYTES),
    }
    build = next((build for magic, build in decoders.items() if head.startswith(magic)), None)
    return file if build is None else io.BufferedReader(_Unpacked(file, build, spend), PACKED_BYTES)


class _Gzip:
    """The decoder of gzip with the ways of the other two."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS + GZIP_WRAPPED)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


class _Unpacked(io.RawIOBase):
    """Packed streams, one after another, unpacked within bounded memory and time.

    The library's own file classes take any memory for xz, and read a gzip's comment, of any length, sign by sign.
    """

    def __init__(self, file: IO[bytes], build: Callable[[], _Decoder], spend: Callable[[int], None]) -> None:
        self._file, self._build, self._spend, self._decoder = file, build, spend, build()

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer, and return with how many bytes; 0 at the end. Raises EOFError where the stream breaks off."""
        view = memoryview(buffer)
        while True:
            packed = b""
            if self._decoder.eof:
                packed = self._decoder.unused_data.lstrip(b"\0") or self._file.read(PACKED_BYTES).lstrip(b"\0")
                if not packed:
                    return 0
                self._spend(STREAM_BYTES)
                self._decoder = self._build()
            elif self._decoder.needs_input:
                packed = self._file.read(PACKED_BYTES)
                if not packed:
                    raise EOFError
            data = self._decoder.decompress(packed, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


class _Forwards:
    """What a tar is read from: forwards alone, every byte counted."""

    def __init__(self, source: IO[bytes], budget: Budget) -> None:
        self._source, self._budget = source, budget
        self.at = 0
        """How many bytes were read."""

    def skip_to(self, place: int) -> None:
        """Pass over what lies before a place further on."""
        while self.at < place and self.read(min(place - self.at, CHUNK_BYTES)):
            pass

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end."""
        parts, missing = [], size
        while missing and (part := self._source.read(min(missing, CHUNK_BYTES))):
            parts.append(part)
            missing -= len(part)
            self._budget.spend(len(part))
        data = b"".join(parts)
        self.at += len(data)
        return data
