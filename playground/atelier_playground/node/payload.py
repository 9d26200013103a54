"""A volume's files, changed in one step: the layout that the kubelet gives ConfigMaps, Secrets and projected volumes.

The files of one version lie in a directory of their own; `..data` is a symbolic link to it, and every name at the top
is a link through `..data`. Renaming a new link over `..data` changes all files at once, so a reader that opens them
through the top sees one version or the next, never a mixture.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DATA = "..data"


@dataclass(frozen=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int


def write_payload(volume: Path, files: Mapping[str, File]) -> bool:
    """Make a volume hold exactly these files.

    Args:
        volume: the volume's directory; made when missing.
        files: path inside the volume → file.

    Returns:
        Whether anything changed.
    """
    volume.mkdir(parents=True, exist_ok=True)
    link = volume / _DATA
    if link.exists() and _read_files(link) == files:
        return False
    version = Path(tempfile.mkdtemp(prefix="..version-", dir=volume))
    version.chmod(0o755)
    for path, file in files.items():
        target = version / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    old = link.resolve() if link.exists() else None
    _replace_link(link, version.name)
    names = {Path(path).parts[0] for path in files}
    for name in names:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"{_DATA}/{name}")
    for entry in volume.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old)
    return True


def _replace_link(link: Path, target: str) -> None:
    scratch = link.with_name("..data-new")
    scratch.symlink_to(target)
    scratch.replace(link)


def _read_files(version: Path) -> dict[str, File]:
    found = {}
    for directory, _, names in os.walk(version.resolve()):
        for name in names:
            path = Path(directory) / name
            relative = str(path.relative_to(version.resolve()))
            found[relative] = File(path.read_bytes(), path.stat().st_mode & 0o777)
    return found
