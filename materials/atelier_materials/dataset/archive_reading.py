"""What readers of archives share (limits, refusals, entries), and the files in a zip, one after another.

What an entry is, is judged here: links, devices, encryption, sizes, how many there are. Where it may lie is `archives`'
business. Memory, bytes and number are bounded. In: the path of an archive. Out: its regular files, or a refusal that
names what is wrong.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import IO, Any, cast

from atelier_contract.reasons import Finding
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.naming import escape_name
from atelier_materials.errors import ArchiveRefused

READ_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Of the others the library unpacks all that it has read at once: 400 bytes of bzip2 become half a gigabyte."""
ENCRYPTED_FLAG = 0x1  # APPNOTE 6.3, section 4.4.4
END_OF_ZIP_64 = b"PK\x06\x06"
END_OF_ZIP_64_BYTES = 56 + 20
"""Of the wide end record and its locator, which lie between the directory and the end record."""
ENTRY_BYTES, LENGTHS_AT = 46, 28
"""Of an entry in a zip's directory, and where it tells how long the name, the fields and the comment after it are."""
MAX_ENTRY_BYTES = 512
"""Of the directory for each entry that is allowed, on average: 46 bytes, a long name and further fields. The library
keeps four bytes for each sign of a name."""
MAX_FIELDS_BYTES = 1 << 10
"""Of an entry: the library's time grows with their square. Times, owners and a name in UTF-8 have some hundred."""


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


def read_zip(budget: Budget) -> Iterator[Entry]:
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
    """Refuse a directory of too many entries, or of too much, before the library keeps an object for each.

    Where the directory lies is what the library itself takes for it: an archive can say so in several places, and a
    reading of our own would count another directory than the one that is unpacked.
    """
    with path.open("rb") as file:
        end = cast("Any", zipfile)._EndRecData(file)  # noqa: SLF001  (there is no public way to its reading)
        if end is None:
            raise zipfile.BadZipFile
        signature, length, at = end[0], end[5], end[9]
        start = at - length - (END_OF_ZIP_64_BYTES if signature == END_OF_ZIP_64 else 0)
        file.seek(max(0, start))
        directory = file.read(length) if length <= limits.entries * MAX_ENTRY_BYTES else b""
    entries = at = 0
    while at < len(directory) and entries <= limits.entries:
        name, fields, comment = struct.unpack_from("<3H", directory, at + LENGTHS_AT)
        if fields > MAX_FIELDS_BYTES:
            raise refuse(path, Finding.ARCHIVE_BOMB, f"says {fields:,} bytes of fields of one entry")
        at += ENTRY_BYTES + name + fields + comment
        entries += 1
    if len(directory) < length or entries > limits.entries:
        raise refuse(path, Finding.ARCHIVE_TOO_MANY_FILES, f"has more than {limits.entries:,} entries")
