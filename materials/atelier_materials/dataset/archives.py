"""Archives of pictures, unpacked where the person sits and nowhere else: hostile until read to the end once.

A zip or tar (plain, gz, bz2, xz) is read twice. First every entry is judged: where it would lie, what it is, how large
it is, how many there are; only then is anything written, into a folder that holds nothing else. So a refused archive
leaves nothing behind. Memory and time are bounded by what was read, not by what an archive claims.

In: a file and an empty folder. Out: files below the folder, and what was left out; or a refusal with its finding.
"""

from __future__ import annotations

import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from atelier_contract.reasons import Finding
from atelier_materials.dataset.archive_reading import ArchiveLimits, Budget, Entry, choose_reader, refuse
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.naming import escape_name, fold_name, judge_name
from atelier_materials.store.protocol import CHUNK_BYTES

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
NESTED_SUFFIXES = (*ARCHIVE_SUFFIXES, ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
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
        read, free = choose_reader(path), shutil.disk_usage(into).free
        gate = _Gate(path)
        places = {entry.name: gate.admit(entry.name) for entry in read(Budget(path, limits, free))}
        for entry in read(Budget(path, limits, free)):
            place = places.get(entry.name)
            if place is not None:
                _write(entry, into / place)
    return gate.left_out


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
    left_out: list[FileFound] = field(default_factory=list)
    _files: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    def admit(self, name: str) -> str | None:
        """Return where an entry is to lie; None: it is left out. Raises ArchiveRefused where it must not exist."""
        parts = name.replace("\\", "/").split("/")
        if not parts[0] or ".." in parts or "\0" in name or name[1:2] == ":":  # C:, whose meaning Windows alone knows
            raise refuse(self.path, Finding.ARCHIVE_UNSAFE_PATH, "would lie outside the folder", name)
        parts = [part for part in parts if part not in {"", "."}]
        place = "/".join(parts)
        folded = fold_name(place)
        if folded in self._files or folded in self._folders or not self._note_folders(folded):
            raise refuse(self.path, Finding.ARCHIVE_NAME_CLASH, "is there twice", name)
        self._files.add(folded)
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return None
        fault = judge_name(place)
        if fault is None and place.lower().endswith(NESTED_SUFFIXES):
            fault = Finding.ARCHIVE_NESTED
        if fault is None:
            return place
        self.left_out.append(FileFound(fault, escape_name(place)))
        return None

    def _note_folders(self, path: str) -> bool:
        """Remember the folders above a path; return whether none of them is a file."""
        while (path := path.rpartition("/")[0]) and path not in self._folders:
            if path in self._files:
                return False
            self._folders.add(path)
        return True
