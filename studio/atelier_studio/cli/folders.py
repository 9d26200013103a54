"""A folder of pictures as it is typed: the folder itself, or an archive of one, unpacked while it is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atelier_studio.errors import BadRequest

if TYPE_CHECKING:
    from atelier_materials.dataset.findings import FileFound

PAGE = "docs/how-to/prepare-pictures.md"


@contextmanager
def open_folder(path: Path) -> Iterator[tuple[Path, list[FileFound]]]:
    """Yield the folder that is meant, and what was left in its archive.

    Raises:
        BadRequest: it is neither a folder nor an archive.
        ArchiveRefused: the archive is hostile or damaged.
    """
    if path.is_dir():
        yield path, []
        return
    from atelier_materials.dataset.archives import is_archive, unpack  # noqa: PLC0415  (only archives need it)
    from atelier_materials.dataset.layouts import is_telling  # noqa: PLC0415  (as above)
    from atelier_materials.dataset.naming import escape_name  # noqa: PLC0415  (as above)

    if not path.is_file() or not is_archive(path):
        raise BadRequest(
            f"{escape_name(str(path))} is neither a folder nor an archive (zip, tar): name the folder that holds the "
            "pictures",
            PAGE,
        )
    with tempfile.TemporaryDirectory(prefix="atelier-folder-") as scratch:
        left = unpack(path, Path(scratch))
        inside = list(Path(scratch).iterdir())
        # An archive of a folder holds that folder; but for kohya's folders and splits, its name says nothing.
        is_wrapped = len(inside) == 1 and inside[0].is_dir() and not is_telling(inside[0].name)
        yield (inside[0] if is_wrapped else Path(scratch)), left


def name_folder(path: Path) -> str:
    """Return the name of a folder, or of an archive without its suffix."""
    name = path.resolve().name
    if path.is_dir():
        return name
    from atelier_materials.dataset.archives import ARCHIVE_SUFFIXES  # noqa: PLC0415  (as above)

    return next((name[: -len(suffix)] for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), name)
