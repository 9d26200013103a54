"""Captions as people keep them: a text file beside each picture, one table for a folder, or the folder's own name.

Known are `NAME.txt` and `NAME.caption` beside `NAME.png`, and the tables `metadata.jsonl`, `.csv` and `.parquet` of the
imagefolder layout, whose `file_name` is relative to the table. A file beside the picture is preferred: whoever wrote
both corrected the picture's own. Further captions of one picture lie in `NAME.2.txt`, `NAME.3.txt` and so on, or as a
list in the table. In kohya's folders, `NN_words`, the words are the caption of what has no other. Which of these count
is `layouts`' business.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from atelier_contract.reasons import Finding
from atelier_materials.dataset.sources import SourceFile
from atelier_materials.store.protocol import Shelf

SIDECAR_SUFFIXES = (".txt", ".caption")
"""In order of preference."""
TABLE_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "data.jsonl")
"""`data.jsonl` is what Invoke's own trainer reads."""
PICTURE_COLUMNS = ("file_name", "image")
"""The first that a row has. `file_name` is the imagefolder layout's own."""
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
MAX_UNPACKED_BYTES = 256 << 20
"""Of a Parquet table, by its own account."""
MAX_ROWS = 200_000
"""Pictures a dataset may have."""
MOST_LINES_NAMED = 10
"""Of a table that cannot be read; the others are counted."""


@dataclass(frozen=True)
class Table:
    """What a table says.

    Attributes:
        captions: by the pictures' paths.
        fault: which of its lines cannot be read, for people; never what is written there. Empty: none.
    """

    captions: dict[str, list[str]]
    fault: str


class CaptionUnreadable(Exception):
    """A caption file is too large, not UTF-8, or not of its format. Becomes a finding."""

    def __init__(self, path: str, finding: Finding = Finding.CAPTION_UNREADABLE, detail: str = "") -> None:
        super().__init__(path)
        self.finding = finding
        self.detail = detail
        """Where in the file, for people; never what is written there."""


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


def read_lines(shelf: Shelf, file: SourceFile) -> list[str]:
    """Return the lines of a sidecar that hold anything. Joined, they are its caption.

    Raises:
        CaptionUnreadable: it is too large or not text.
    """
    if file.bytes > MAX_SIDECAR_BYTES:
        raise CaptionUnreadable(file.path)
    lines = (" ".join(line.split()) for line in _decode(shelf.read(file.key), file.path).splitlines())
    return [line for line in lines if line]


def read_table(shelf: Shelf, file: SourceFile) -> Table:
    """Return what a table says. Lines of JSON that cannot be read are named, and the others count.

    Raises:
        CaptionUnreadable: it is too large, not of its format, without the expected columns, or its reader is missing.
    """
    if file.bytes > MAX_TABLE_BYTES:
        raise CaptionUnreadable(file.path)
    folder = PurePosixPath(file.path).parent
    captions: dict[str, list[str]] = {}
    broken: list[int] = []
    rows = 0
    try:
        for row in _read_rows(shelf.read(file.key), file.path, broken):
            rows += 1
            name = _find(row, PICTURE_COLUMNS)
            found = _list_captions(_find(row, CAPTION_COLUMNS))
            if isinstance(name, str) and found:
                captions[str(folder / name.replace("\\", "/"))] = found
            if rows + len(broken) > MAX_ROWS:
                raise CaptionUnreadable(file.path)
    except (ValueError, csv.Error, AttributeError, RecursionError) as error:
        raise CaptionUnreadable(file.path) from error
    fault = _describe_broken(broken)
    if (rows or broken) and not captions:
        raise CaptionUnreadable(file.path, detail=fault)
    return Table(captions, fault)


def _describe_broken(lines: list[int]) -> str:
    """Return which lines are no JSON objects; empty where all are."""
    if len(lines) <= 1:
        return f"line {lines[0]} is no JSON object" if lines else ""
    more = f" and {len(lines) - MOST_LINES_NAMED} more" if len(lines) > MOST_LINES_NAMED else ""
    return f"lines {', '.join(map(str, lines[:MOST_LINES_NAMED]))}{more} are no JSON objects"


def _find(row: dict[str, object], columns: tuple[str, ...]) -> object:
    return next((row[column] for column in columns if row.get(column)), None)


def _list_captions(told: object) -> list[str]:
    """Return what a cell holds as captions: one text, or a list of them."""
    texts = told if isinstance(told, list) else [told]
    return [" ".join(text.split()) for text in texts if isinstance(text, str)]


def _read_rows(data: bytes, path: str, broken: list[int]) -> Iterator[dict[str, object]]:
    """Yield the rows of a table; the numbers of its lines that are no JSON objects are put into the list."""
    if path.endswith(".parquet"):
        yield from _read_parquet(data, path)
    elif path.endswith(".jsonl"):
        yield from _read_json_lines(_decode(data, path), broken)
    else:
        yield from csv.DictReader(io.StringIO(_decode(data, path), newline=""))


def _read_json_lines(text: str, broken: list[int]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
        else:
            broken.append(number)


def _read_parquet(data: bytes, path: str) -> Iterator[dict[str, object]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise CaptionUnreadable(path, Finding.FORMAT_NOT_INSTALLED) from error
    try:
        with parquet.ParquetFile(io.BytesIO(data)) as table:
            facts = table.metadata
            columns = [name for name in (*PICTURE_COLUMNS, *CAPTION_COLUMNS) if name in table.schema_arrow.names]
            sizes = [facts.row_group(index).total_byte_size for index in range(facts.num_row_groups)]
            if facts.num_rows > MAX_ROWS or sum(sizes) > MAX_UNPACKED_BYTES:
                raise CaptionUnreadable(path)
            for batch in table.iter_batches(batch_size=1000, columns=columns, use_threads=False):
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise CaptionUnreadable(path) from error


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionUnreadable(path) from error
