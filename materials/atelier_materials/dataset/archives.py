"""Archives of pictures, unpacked where the person sits and nowhere else: hostile until read to the end once.

A zip or tar (plain, gz, bz2, xz) is read twice. First every entry is judged: where it would lie, what it is, how large
it is, how many there are; only then is anything written, into a folder that holds nothing else. So a refused archive
leaves nothing behind. Memory and time are bounded by what was read, not by what an archive claims.

In: a file and an empty folder. Out: files below the folder, and what was left out; or a refusal with its finding.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from atelier_contract.reasons import Finding
from atelier_materials.dataset.archive_reading import ArchiveLimits, Budget, Entry, read_zip, refuse
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.naming import escape_name, fold_name, judge_name
from atelier_materials.dataset.tar_reading import BLOCK_BYTES, BZIP2_MAGIC, GZIP_MAGIC, XZ_MAGIC, read_tar
from atelier_materials.store.protocol import CHUNK_BYTES

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
NESTED_SUFFIXES = (*ARCHIVE_SUFFIXES, ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
USTAR_AT, USTAR_MAGIC = 257, b"ustar"
"""POSIX.1, pax: the header of a tar's first entry."""
SHOWN_LENGTH = 200
"""Of a path that is left out: enough to know it by."""
FOLDERS_AN_ENTRY = 2
"""As many folders as files and again as many are taken: each costs memory, and none is counted by the archive."""
DIGEST_BYTES = 16
"""Of a path: nobody finds two that share one."""
BROKEN = (
    OSError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError, RuntimeError,
    tarfile.TarError, zipfile.BadZipFile, RecursionError,
)  # fmt: skip
"""What readers of archives make of damaged ones."""
STANDARD_LIMITS = ArchiveLimits()


def is_archive(path: Path) -> bool:
    """Return whether a file is called an archive that can be unpacked."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(path: Path, into: Path, limits: ArchiveLimits = STANDARD_LIMITS) -> list[FileFound]:
    """Unpack an archive and return which of its entries were left out.

    Args:
        path: a zip or tar.
        into: an empty folder.
        limits: how much is believed.

    Raises:
        ArchiveRefused: it is hostile, encrypted or damaged. Nothing was written then, unless damage was found last.
    """
    with _translated(path):
        read, free = _choose_reader(path), shutil.disk_usage(into).free
        judge, gate = _Gate(path, limits), _Gate(path, limits)
        for entry in read(Budget(path, limits, free)):
            judge.admit(entry.name)
        for entry in read(Budget(path, limits, free)):
            place = gate.admit(entry.name)
            if place is not None:
                _write(entry, into / place)
    return [FileFound(fault, escape_name(place)) for fault, place in gate.left_out]


def _choose_reader(path: Path) -> Callable[[Budget], Iterator[Entry]]:
    """Return what reads this kind of archive. Raises ArchiveRefused where it is of none that is known."""
    with path.open("rb") as file:
        head = file.read(BLOCK_BYTES)
    if head.startswith(ZIP_MAGIC):
        return read_zip
    packed = head.startswith((GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC))
    if packed or head[USTAR_AT:].startswith(USTAR_MAGIC) or path.name.lower().endswith(".tar"):
        return read_tar
    raise refuse(path, Finding.ARCHIVE_UNREADABLE, "is neither a zip nor a tar of a known kind")


def _write(entry: Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with entry.open() as source, target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise refuse(path, Finding.ARCHIVE_UNREADABLE, f"is no whole archive ({type(error).__name__})") from error


@dataclass
class _Gate:
    """Where entries may lie, and which are left out."""

    path: Path
    limits: ArchiveLimits
    left_out: list[tuple[Finding, str]] = field(default_factory=list)
    """Why, and a path that is not fit to be printed yet: making it so takes longer than all else of an entry."""
    _files: set[bytes] = field(default_factory=set)
    _folders: set[bytes] = field(default_factory=set)

    def admit(self, name: str) -> str | None:
        """Return where an entry is to lie; None: it is left out. Raises ArchiveRefused where it must not exist."""
        parts = name.replace("\\", "/").split("/")
        if not parts[0] or ".." in parts or "\0" in name or name[1:2] == ":":  # C:, whose meaning Windows alone knows
            raise refuse(self.path, Finding.ARCHIVE_UNSAFE_PATH, "would lie outside the folder", name)
        parts = [part for part in parts if part not in {"", "."}]
        place = "/".join(parts)
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return None
        fault = judge_name(place)
        if fault is None and place.lower().endswith(NESTED_SUFFIXES):
            fault = Finding.ARCHIVE_NESTED
        if fault is not None:
            shown = place if len(place) <= SHOWN_LENGTH else f"…{place[-(SHOWN_LENGTH - 1) :]}"
            self.left_out.append((fault, shown))
            return None
        if not self._note(fold_name(place)):
            raise refuse(self.path, Finding.ARCHIVE_NAME_CLASH, "is there twice", name)
        return place

    def _note(self, path: str) -> bool:
        """Remember a file and the folders above it; return whether it can lie beside the others.

        Only what is written is noted, and of it a digest: paths and folders together may be a hundred times as long as
        the archive.
        """
        file = _digest(path)
        if file in self._files or file in self._folders:
            return False
        self._files.add(file)
        while (path := path.rpartition("/")[0]) and (folder := _digest(path)) not in self._folders:
            if folder in self._files:
                return False
            self._folders.add(folder)
        if len(self._folders) > FOLDERS_AN_ENTRY * self.limits.entries:
            what = f"has more than {FOLDERS_AN_ENTRY * self.limits.entries:,} folders"
            raise refuse(self.path, Finding.ARCHIVE_TOO_MANY_FILES, what)
        return True


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode(), digest_size=DIGEST_BYTES).digest()
