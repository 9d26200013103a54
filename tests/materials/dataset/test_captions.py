"""Captions as people keep them: files beside pictures, and tables; what cannot be read is named and costs no more."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from atelier_contract.reasons import Finding
from dataset_folders import captions, read


def test_lines_of_a_sidecar_are_one_caption(tmp_path: Path) -> None:
    """Several lines are joined as ever, and it is said how to write several captions."""
    listing, found = read(tmp_path, {"a.png": "", "a.txt": "one,\n\n  two\n", "b.png": "", "b.txt": "\nthree\n\n"})
    assert captions(listing) == {"a.png": ("one, two",), "b.png": ("three",)}
    assert found == {Finding.CAPTION_LINES_JOINED: ["a.txt"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.jsonl", '{"file_name": "./a.png", "text": "one"}'),
        ("metadata.jsonl", '{"image": "a.png", "prompt": "one"}'),
        ("data.jsonl", '{"image": "a.png", "text": "one"}'),
        ("metadata.csv", "file_name,text\na.png,one\n"),
        ("metadata.csv", 'text,file_name\r\n"one",a.png\r\n'),
    ],
)
def test_tables(tmp_path: Path, name: str, data: str) -> None:
    """Tables are read whatever of the known columns they have, in any order."""
    listing, found = read(tmp_path, {"a.png": "", name: data})
    assert (captions(listing), found) == ({"a.png": ("one",)}, {})


def test_table_in_a_folder_speaks_of_that_folder(tmp_path: Path) -> None:
    """Paths in a table are relative to it; those of Windows are understood."""
    listing, _ = read(tmp_path, {"x/y/a.png": "", "x/metadata.jsonl": '{"file_name": "y\\\\a.png", "text": "one"}'})
    assert captions(listing) == {"x/y/a.png": ("one",)}


def write_parquet(columns: dict[str, list[Any]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_parquet_table(tmp_path: Path) -> None:
    """A Parquet table says the same as its fellows, whatever else is in it."""
    data = write_parquet({"file_name": ["a.png", "b.png"], "text": ["one", None], "pixels": [b"x", b"y"]})
    listing, found = read(tmp_path, {"a.png": "", "b.png": "", "metadata.parquet": data})
    assert (captions(listing), found) == ({"a.png": ("one",), "b.png": ()}, {})


def test_parquet_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the table is named with what to install."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    _, found = read(tmp_path, {"a.png": "", "metadata.parquet": b"PAR1"})
    assert found == {Finding.FORMAT_NOT_INSTALLED: ["metadata.parquet"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.jsonl", '{"picture": "a.png"}'),
        ("metadata.jsonl", b"\xff\xfe\x00"),
        ("metadata.csv", "file_name;text\na.png;one\n"),
        ("metadata.csv", "file_name,text\na.png," + "x" * 200_000),
        ("metadata.parquet", b"PAR1 and nothing"),
        ("a.txt", b"\xff\xfe\x00"),
        ("a.txt", "x" * 70_000),
    ],
)
def test_unreadable_captions_are_named(tmp_path: Path, name: str, data: bytes | str) -> None:
    """Captions that are not of their format are named, and their pictures stay."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    listing, found = read(tmp_path, {"a.png": "", name: data})
    assert (captions(listing), found) == ({"a.png": ()}, {Finding.CAPTION_UNREADABLE: [name]})


@pytest.mark.parametrize("line", ["not json", "[" * 100_000, "[1, 2]"])
def test_a_line_that_is_no_json_costs_its_own_row_alone(tmp_path: Path, line: str) -> None:
    """Of a table's lines, the one that cannot be read is named, and the others' captions are used."""
    rows = [f'{{"file_name": "{name}.png", "text": "{name}"}}' for name in ("one", "two")]
    listing, found = read(tmp_path, {"one.png": "", "two.png": "", "metadata.jsonl": f"{rows[0]}\n\n{line}\n{rows[1]}"})
    assert captions(listing) == {"one.png": ("one",), "two.png": ("two",)}
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.jsonl line 3 is no JSON object"]}


def test_many_lines_that_are_no_json_are_counted(tmp_path: Path) -> None:
    """Of many lines that cannot be read the first ten are named in one sentence, and the others counted."""
    _, found = read(tmp_path, {"a.png": "", "metadata.jsonl": '{"file_name": "a.png", "text": "one"}\n' + "no\n" * 12})
    named = "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more are no JSON objects"
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.jsonl {named}"]}


def test_table_of_too_many_rows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that would fill the memory is not read to its end."""
    monkeypatch.setattr("atelier_materials.dataset.captions.MAX_ROWS", 3)
    rows = "\n".join(json.dumps({"file_name": f"{number}.png", "text": "x"}) for number in range(5))
    _, found = read(tmp_path, {"a.png": "", "metadata.jsonl": rows})
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.jsonl"]}
