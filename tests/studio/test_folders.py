"""A folder as it is typed: an archive's own folder is taken off, unless its name says something of the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from atelier_studio.cli.folders import open_folder
from hostile_files import build_zip


@pytest.mark.parametrize(
    ("packed", "seen"),
    [("teapots/a.png", "a.png"), ("10_tkxw teapot/a.png", "10_tkxw teapot/a.png"), ("train/a.png", "train/a.png")],
)
def test_folder_that_an_archive_was_made_of(tmp_path: Path, packed: str, seen: str) -> None:
    """Kohya's repeats and the splits of an image folder survive being packed."""
    archive = tmp_path / "teapots.zip"
    archive.write_bytes(build_zip({packed: b"x"}))
    with open_folder(archive) as (root, left_out):
        assert (left_out, [str(path.relative_to(root)) for path in root.rglob("*.png")]) == ([], [seen])
