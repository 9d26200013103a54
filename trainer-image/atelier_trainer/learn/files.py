"""What a manifest says of a file on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypedDict


class FileFacts(TypedDict):
    """Fields that every kind of file entry shares."""

    name: str
    bytes: int
    sha256: str


def describe_file(folder: Path, name: str) -> FileFacts:
    """Return name, size and sha256 of a file below a folder."""
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"name": name, "bytes": (folder / name).stat().st_size, "sha256": digest.hexdigest()}
