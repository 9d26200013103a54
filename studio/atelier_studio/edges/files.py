"""Files that a person asked for, written to their own disk: refusals of the disk become sentences."""

from __future__ import annotations

from pathlib import Path

from atelier_studio.errors import StudioError


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises StudioError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudioError(f"the folder {path} cannot be made ({error.strerror}): choose another") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file, replacing what was there. Raises StudioError where that cannot be."""
    make_folder(path.parent)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StudioError(f"{path} cannot be written ({error.strerror}): choose another place") from error
