"""Captions as people keep them: a text file beside each picture, one table for a folder, or the folder's own name.

Known are `NAME.txt` and `NAME.caption` beside `NAME.png`, and the tables `metadata.jsonl`, `.csv` and `.parquet` of the
imagefolder layout, whose `file_name` is relative to the table. A file beside the picture is preferred: whoever wrote
both corrected the picture's own. Further captions of one picture lie in `NAME.2.txt`, `NAME.3.txt` and so on, or as a
list in the table. In kohya's folders, `NN_words`, the words are the caption of what has no other. Which of these count
is `layouts`' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from atelier_contract.reasons import Finding
from atelier_materials.dataset.sources import SourceFile
from atelier_materials.dataset.table_rows import MAX_TABLE_BYTES, TableRefused, read_rows
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
MAX_CAPTION_BYTES = 64 << 10
"""Of a sidecar, or of one caption in a table: all of it is counted in tokens."""
UNFIT = "over 64 KiB or with half a character"
MOST_LINES_NAMED = 10
"""Of a table, with one fault; the others are counted."""


@dataclass(frozen=True)
class Table:
    """What a table says.

    Attributes:
        captions: by the pictures' paths.
        fault: which of its rows cannot be used, for people; never what is written there. Empty: none.
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
    if file.bytes > MAX_CAPTION_BYTES:
        raise CaptionUnreadable(file.path)
    lines = (" ".join(line.split()) for line in _decode(shelf.read(file.key), file.path).splitlines())
    return [line for line in lines if line]


def read_table(shelf: Shelf, file: SourceFile) -> Table:
    """Return what a table says. Lines that cannot be read and captions that cannot be held are named; the others count.

    Raises:
        CaptionUnreadable: it is too large, not of its format, without the expected columns, or its reader is missing.
    """
    if file.bytes > MAX_TABLE_BYTES:
        raise CaptionUnreadable(file.path)
    folder = PurePosixPath(file.path).parent
    captions: dict[str, list[str]] = {}
    broken, unfit = _Numbers(), _Numbers()
    is_empty = True
    try:
        for number, row in read_rows(shelf.read(file.key), file.path, (*PICTURE_COLUMNS, *CAPTION_COLUMNS)):
            is_empty = False
            if row is None:
                broken.add(number)
                continue
            name, texts = _find(row, PICTURE_COLUMNS), _list_texts(_find(row, CAPTION_COLUMNS))
            fit = [" ".join(text.split()) for text in texts if _is_fit(text)]
            if len(fit) < len(texts):
                unfit.add(number)
            if isinstance(name, str) and fit:
                captions[str(folder / name.replace("\\", "/"))] = fit
    except TableRefused as refusal:
        raise CaptionUnreadable(file.path, detail=str(refusal)) from refusal
    except ImportError as error:
        raise CaptionUnreadable(file.path, Finding.FORMAT_NOT_INSTALLED) from error
    where = "row" if file.path.endswith(".parquet") else "line"
    faults = (
        broken.describe("line {} is no JSON object", "lines {} are no JSON objects"),
        unfit.describe(f"{where} {{}} has a caption {UNFIT}", f"{where}s {{}} have captions {UNFIT}"),
    )
    fault = "; ".join(filter(None, faults))
    if not is_empty and not captions:
        raise CaptionUnreadable(file.path, detail=fault)
    return Table(captions, fault)


@dataclass
class _Numbers:
    """Rows with one fault: the first by their numbers, so that a table of faults alone is none the larger for it."""

    first: list[int] = field(default_factory=list)
    count: int = 0

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.first) < MOST_LINES_NAMED:
            self.first.append(number)

    def describe(self, one: str, many: str) -> str:
        """Return which rows they are, in one of two sentences; empty where none is."""
        if self.count <= 1:
            return one.format(*self.first) if self.first else ""
        more = f" and {self.count - MOST_LINES_NAMED} more" if self.count > MOST_LINES_NAMED else ""
        return many.format(", ".join(map(str, self.first)) + more)


def _find(row: dict[str, object], columns: tuple[str, ...]) -> object:
    return next((row[column] for column in columns if row.get(column)), None)


def _list_texts(told: object) -> list[str]:
    """Return what a cell holds as captions: one text, or a list of them, as many as are read."""
    texts = told if isinstance(told, list) else [told]
    return [text for text in texts[:MOST_CAPTIONS] if isinstance(text, str)]


def _is_fit(text: str) -> bool:
    """Return whether a caption can be held. JSON can spell half a character, which nothing can write down."""
    try:
        return len(text.encode()) <= MAX_CAPTION_BYTES
    except UnicodeEncodeError:
        return False


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionUnreadable(path) from error
