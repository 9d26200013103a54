"""Tables of captions and kohya's TOML that cost far more than they are: written to disk, and met as a dataset's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from atelier_contract.reasons import Finding

ROW = b'{"file_name": "a.png", "text": "one"}\n'
LARGEST = 64 << 20
"""Bytes of a table that is read at all."""


def build_broken_lines(path: Path) -> None:
    """Write JSON lines of which 33 million are none."""
    path.write_bytes(ROW + b"x\n" * (LARGEST // 2 - len(ROW)))


def build_blank_lines(path: Path) -> None:
    """Write JSON lines of which 67 million are blank."""
    path.write_bytes(ROW + b"\n" * (LARGEST - len(ROW)))


def build_one_line(path: Path) -> None:
    """Write one line of JSON with 22 million lists."""
    path.write_bytes(b"[" + b"[]," * (LARGEST // 3 - 1) + b"]")


def build_long_caption(path: Path) -> None:
    """Write one row whose caption is half a million words."""
    path.write_text(json.dumps({"file_name": "a.png", "text": "a " * 500_000}))


def build_heavy_table(path: Path) -> None:
    """Write as many captions as are read of a table, in letters that take the most memory."""
    letters = "\U0001f600" + "word " * 60
    rows = (f'{{"file_name": "{number}.png", "text": "{letters}"}}\n'.encode() for number in range(190_000))
    with path.open("wb") as file:
        file.writelines(rows)


def build_wide_csv(path: Path) -> None:
    """Write a CSV of 300,000 columns and 100,000 rows."""
    path.write_text("file_name,text" + ",c" * 300_000 + "\n" + "a.png,one\n" * 100_000)


def build_one_row(path: Path) -> None:
    """Write a CSV with one row of 67 million cells."""
    path.write_bytes(b"file_name,text\n" + b"," * (LARGEST - 16))


def build_one_text(path: Path) -> None:
    """Write a Parquet table of a kilobyte, in which 1,000 rows share a text of 900 KB."""
    _write_parquet(path, is_list=False)


def build_lists_of_one_text(path: Path) -> None:
    """Write a Parquet table of a kilobyte with one row: a list that has a text of 900 KB 1,000 times."""
    _write_parquet(path, is_list=True)


def build_long_key(path: Path) -> None:
    """Write a TOML of one key that has 30,000 parts."""
    path.write_text("a." * 30_000 + "a = 1\n[[datasets]]\n")


def _write_parquet(path: Path, *, is_list: bool) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 900_000])
    if is_list:
        texts = pa.ListArray.from_arrays([0, 1000], texts)
    names = [f"{number}.png" for number in range(len(texts))]
    table = pa.table({"file_name": names, "text": texts})
    parquet.write_table(table, path, compression="zstd", store_schema=False)  # nothing tells that it is a dictionary


TABLE_CASES: dict[str, tuple[str, Callable[[Path], None], Finding | None]] = {
    "jsonl of broken lines": ("metadata.jsonl", build_broken_lines, Finding.CAPTION_UNREADABLE),
    "jsonl of blank lines": ("metadata.jsonl", build_blank_lines, Finding.CAPTION_UNREADABLE),
    "jsonl of one line": ("metadata.jsonl", build_one_line, Finding.CAPTION_UNREADABLE),
    "jsonl of a long caption": ("metadata.jsonl", build_long_caption, Finding.CAPTION_UNREADABLE),
    "jsonl of 190,000 captions": ("metadata.jsonl", build_heavy_table, None),
    "csv of 300,000 columns": ("metadata.csv", build_wide_csv, Finding.CAPTION_UNREADABLE),
    "csv of one row": ("metadata.csv", build_one_row, Finding.CAPTION_UNREADABLE),
    "parquet of one text": ("metadata.parquet", build_one_text, Finding.CAPTION_UNREADABLE),
    "parquet of lists of one text": ("metadata.parquet", build_lists_of_one_text, Finding.CAPTION_UNREADABLE),
    "toml of one key": ("set.toml", build_long_key, Finding.LAYOUT_CONFIG_UNUSABLE),
}
"""As `hostile_cases.CASES`; None: the heaviest table that is taken."""
TABLE_SUFFIXES = frozenset(Path(file).suffix for file, _, _ in TABLE_CASES.values())


def meet_table(path: Path) -> Finding | None:
    """Inspect a dataset of one picture and the table, and return the error that is found."""
    from atelier_materials.dataset.inspection import Checks, inspect_dataset
    from atelier_materials.dataset.sources import DatasetFolder, Folder
    from atelier_materials.store.volume_store import VolumeStore
    from picture_files import draw_png

    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder, "dataset")
        there.mkdir()
        (there / "a.png").write_bytes(draw_png())
        shutil.copy(path, there)
        dataset = DatasetFolder(Folder(VolumeStore(there), ""), "Upload")
        found = inspect_dataset(dataset, Path(folder, "scratch"), checks=Checks()).findings
    return next((file.finding for file in found.list_files() if file.severity == "Error"), None)
