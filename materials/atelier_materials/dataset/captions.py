"""Captions as people keep them: a text file beside each picture, one table for a folder, or the folder's own name.

Known are `NAME.txt` and `NAME.caption` beside `NAME.png`, and the tables `metadata.jsonl` and `metadata.csv` of the
imagefolder layout, whose `file_name` is relative to the table. A file beside the picture is preferred: whoever wrote
both corrected the picture's own. Further captions of one picture lie in `NAME.2.txt`, `NAME.3.txt` and so on, or as a
list in the table. In kohya's folders, `NN_words`, the words are the caption of what has no other.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from atelier_materials.dataset.sources import SourceFile
from atelier_materials.store.protocol import Shelf

SIDECAR_SUFFIXES = (".txt", ".caption")
"""In order of preference."""
TABLE_NAMES = ("metadata.jsonl", "metadata.csv")
PICTURE_COLUMN = "file_name"
CAPTION_COLUMNS = ("text", "caption", "prompt")
"""The first that a row has. `text` is the imagefolder layout's own."""
MOST_CAPTIONS = 8
"""Of one picture; further ones are not read."""
NUMBERED = re.compile(r"(.+)\.[1-9]\d?")
"""Stem of a further caption's file."""
REPEATS = re.compile(r"([1-9]\d{0,2})_(.*)")
"""A folder's name in kohya's layout. Four digits are a year."""
MAX_SIDECAR_BYTES = 64 << 10
MAX_TABLE_BYTES = 64 << 20
"""100,000 captions of 600 bytes."""


class CaptionUnreadable(Exception):
    """A caption file is too large, not UTF-8, or not of its format. Becomes a finding."""


def is_sidecar(path: str) -> bool:
    """Return whether a file may hold one picture's caption."""
    return PurePosixPath(path).suffix.lower() in SIDECAR_SUFFIXES


def is_table(path: str) -> bool:
    """Return whether a file may hold the captions of a folder."""
    return PurePosixPath(path).name in TABLE_NAMES


def stem_of(path: str) -> str:
    """Return a path without its suffix: a picture and its sidecar share it."""
    return str(PurePosixPath(path).with_suffix(""))


def stem_of_numbered(stem: str) -> str | None:
    """Return the picture's stem where one ends in a number, as `NAME.2` does, or None."""
    found = NUMBERED.fullmatch(stem)
    return found[1] if found else None


def read_folder_name(path: str) -> tuple[int, str]:
    """Return how often a pass shows a picture, and its caption, as its folder's name says in kohya's layout.

    `10_tkxw teapot/a.png` gives 10 and `tkxw teapot`; any other folder 1 and nothing.
    """
    found = REPEATS.fullmatch(PurePosixPath(path).parent.name)
    return (int(found[1]), " ".join(found[2].split())) if found else (1, "")


def read_sidecar(shelf: Shelf, file: SourceFile) -> str:
    """Return the caption in a sidecar, on one line.

    Raises:
        CaptionUnreadable: it is too large or not text.
    """
    if file.bytes > MAX_SIDECAR_BYTES:
        raise CaptionUnreadable(file.path)
    return " ".join(_decode(shelf.read(file.key), file.path).split())


def read_table(shelf: Shelf, file: SourceFile) -> dict[str, list[str]]:
    """Return the captions of a table by the pictures' paths.

    Raises:
        CaptionUnreadable: it is too large, or neither JSON lines nor CSV with the expected columns.
    """
    if file.bytes > MAX_TABLE_BYTES:
        raise CaptionUnreadable(file.path)
    text = _decode(shelf.read(file.key), file.path)
    folder = PurePosixPath(file.path).parent
    captions, rows = {}, 0
    try:
        for row in _read_rows(text, is_json=file.path.endswith(".jsonl")):
            rows += 1
            name = row.get(PICTURE_COLUMN)
            found = _list_captions(next((row[column] for column in CAPTION_COLUMNS if row.get(column)), None))
            if isinstance(name, str) and found:
                captions[str(folder / name)] = found
    except (ValueError, csv.Error, AttributeError) as error:
        raise CaptionUnreadable(file.path) from error
    if rows and not captions:
        raise CaptionUnreadable(file.path)
    return captions


def _list_captions(told: object) -> list[str]:
    """Return what a cell holds as captions: one text, or a list of them."""
    texts = told if isinstance(told, list) else [told]
    return [" ".join(text.split()) for text in texts if isinstance(text, str)]


def _read_rows(text: str, is_json: bool) -> Iterator[dict[str, object]]:
    if is_json:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
    else:
        yield from csv.DictReader(io.StringIO(text))


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionUnreadable(path) from error
