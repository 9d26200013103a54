"""Captions as people keep them: files beside pictures, and tables; what cannot be read is named and costs no more."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from atelier_contract.reasons import Finding
from atelier_materials.dataset.captions import UNFIT
from atelier_materials.dataset.parquet_pages import PagesUnreadable, measure_pages
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


def write_parquet(columns: dict[str, list[Any]], **settings: Any) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer, **settings)
    return buffer.getvalue()


def test_parquet_table(tmp_path: Path) -> None:
    """A Parquet table says the same as its fellows, whatever else is in it."""
    data = write_parquet({"file_name": ["a.png", "b.png"], "text": ["one", None], "pixels": [b"x", b"y"]})
    listing, found = read(tmp_path, {"a.png": "", "b.png": "", "metadata.parquet": data})
    assert (captions(listing), found) == ({"a.png": ("one",), "b.png": ()}, {})


def test_parquet_table_of_several_captions(tmp_path: Path) -> None:
    """A column of lists gives a picture all the texts of its list."""
    data = write_parquet({"file_name": ["a.png", "b.png"], "text": [["one", "two"], []]})
    listing, found = read(tmp_path, {"a.png": "", "b.png": "", "metadata.parquet": data})
    assert (captions(listing), found) == ({"a.png": ("one", "two"), "b.png": ()}, {})


@pytest.mark.parametrize("kind", ["list", "fixed list", "beside pictures"])
def test_parquet_of_other_shapes(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of one length are read, and pictures that lie in the table are no texts whose size would count."""
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_TABLE_BYTES", 1000)
    one, picture = pyarrow.array([["one"]]), pyarrow.array([{"bytes": b"x" * 2000}])
    one = one.cast(pyarrow.list_(pyarrow.string(), 1)) if kind == "fixed list" else one
    columns = {"file_name": ["a.png"], "text": one}
    data = write_parquet(columns | ({"image": picture} if kind == "beside pictures" else {}))
    listing, found = read(tmp_path, {"a.png": "", "metadata.parquet": data})
    assert (captions(listing), found) == ({"a.png": ("one",)}, {})


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
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_ROWS", 3)
    rows = "\n".join(json.dumps({"file_name": f"{number}.png", "text": "x"}) for number in range(5))
    _, found = read(tmp_path, {"a.png": "", "metadata.jsonl": rows})
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.jsonl it has over 3 rows"]}


def test_lines_that_are_no_json_count_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of broken lines alone ends where one of captions would."""
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_ROWS", 3)
    _, found = read(tmp_path, {"a.png": "", "metadata.jsonl": "no\n" * 5})
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.jsonl it has over 3 rows"]}


def test_table_of_too_many_lines_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank lines are passed over, and not without end."""
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_LINES", 3)
    _, found = read(tmp_path, {"a.png": "", "metadata.csv": "file_name,text\n\n\n\na.png,one\n"})
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.csv it has over 3 lines"]}


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "one"}', "line 1 has over 20 characters"),
        (
            "metadata.csv",
            'file_name,text\na,"b\n\n\nc\nd\ne\nf\ng\nh\ni"\n',
            "line 10 ends a row of over 20 characters",
        ),
        ("metadata.csv", "file_name,text,c,d\na.png,one\n", "line 1 has over 3 columns"),
        ("metadata.csv", "file_name,text\na.png,b,c,d\n", "line 2 has over 3 columns"),
    ],
)
def test_row_that_costs_too_much_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: str, fault: str
) -> None:
    """A table ends at a row of too many letters or columns, and it is told where."""
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_ROW_LENGTH", 20)
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MOST_COLUMNS", 3)
    _, found = read(tmp_path, {"a.png": "", name: data})
    assert found == {Finding.CAPTION_UNREADABLE: [f"{name} {fault}"]}


LONG = "é" * (32 << 10)


@pytest.mark.parametrize("too_much", ["x", "", ["x", "y"]], ids=["longer", "as long", "of several"])
def test_caption_of_a_table_is_no_longer_than_a_sidecar(tmp_path: Path, too_much: str | list[str]) -> None:
    """A caption over 64 KiB is named by its line and not cut; one of 64 KiB and the picture's others are used."""
    told = [f"{LONG}x", *too_much] if isinstance(too_much, list) else LONG + too_much
    rows = [{"file_name": "a.png", "text": told}, {"file_name": "b.png", "text": "b"}]
    listing, found = read(
        tmp_path, {"a.png": "", "b.png": "", "metadata.jsonl": "\n\n".join(map(json.dumps, rows[::-1]))}
    )
    used = tuple(too_much) if isinstance(too_much, list) else () if too_much else (LONG,)
    named = {Finding.CAPTION_UNREADABLE: [f"metadata.jsonl line 3 has a caption {UNFIT}"]} if too_much else {}
    assert (captions(listing), found) == ({"a.png": used, "b.png": ("b",)}, named)


def test_long_captions_of_a_table_are_named_by_their_rows(tmp_path: Path) -> None:
    """Parquet has rows and no lines, also where they lie in several groups."""
    data = write_parquet(
        {"file_name": [f"{name}.png" for name in "abc"], "text": ["one", f"{LONG}x", f"{LONG}y"]}, row_group_size=1
    )
    _, found = read(tmp_path, {"a.png": "", "b.png": "", "c.png": "", "metadata.parquet": data})
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.parquet rows 2, 3 have captions {UNFIT}"]}


def test_half_a_character_in_a_table_is_named(tmp_path: Path) -> None:
    """JSON can spell half of a surrogate pair: a caption of it is named, as no vocabulary and no manifest takes it."""
    rows = ['{"file_name": "a.png", "text": "one \\ud83d"}', '{"file_name": "b.png", "text": "two \\ud83d\\ude00"}']
    listing, found = read(tmp_path, {"a.png": "", "b.png": "", "metadata.jsonl": "\n".join(rows)})
    assert captions(listing) == {"a.png": (), "b.png": ("two \U0001f600",)}
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.jsonl line 1 has a caption {UNFIT}"]}


@pytest.mark.parametrize(
    ("bound", "fault"),
    [
        ({"MAX_TABLE_BYTES": 1000}, "its captions are over 1,000 bytes once unpacked"),
        ({"MAX_TABLE_BYTES": 50}, "one of its columns is over 50 bytes once unpacked"),
        ({"MAX_VALUES": 15}, "one of its columns has over 15 values"),
        ({"MAX_ROWS": 5}, "it has over 5 rows"),
        ({"MAX_FOOTER_BYTES": 99}, "what it says of itself is over 99 bytes"),
    ],
    ids=lambda bound: next(iter(bound)) if isinstance(bound, dict) else "",
)
def test_parquet_that_unpacks_to_too_much_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: dict[str, int], fault: str
) -> None:
    """Texts are counted as often as rows or lists have them, before any is unpacked."""
    for name, most in bound.items():
        monkeypatch.setattr(f"atelier_materials.dataset.table_rows.{name}", most)
    data = write_parquet({"file_name": [f"{number}.png" for number in range(8)], "text": [["x" * 70] * 2] * 8})
    _, found = read(tmp_path, {"0.png": "", "metadata.parquet": data})
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.parquet {fault}"]}


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_parquet_of_differences_is_named(tmp_path: Path, encoding: str) -> None:
    """Texts that are told by how they differ cannot be counted before they are made: it is said how to write them."""
    columns: dict[str, list[Any]] = {"file_name": ["a.png"], "text": ["one"]}
    data = write_parquet(columns, column_encoding={"text": encoding}, use_dictionary=False)
    _, found = read(tmp_path, {"a.png": "", "metadata.parquet": data})
    named = "its texts are written as differences: write them plain, or as a dictionary"
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.parquet {named}"]}


def test_parquet_without_rows_says_nothing(tmp_path: Path) -> None:
    """A table of no rows is as good as none: there are no pages in it to count."""
    listing, found = read(tmp_path, {"a.png": "", "metadata.parquet": write_parquet({"file_name": [], "text": []})})
    assert (captions(listing), found) == ({"a.png": ()}, {})


def test_parquet_whose_footer_lies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page's own header says it unpacks to is counted, as its reader believes that and not the footer."""
    from pyarrow import parquet

    data = write_parquet({"file_name": ["a.png"], "text": ["x" * 5_000]})
    size = parquet.read_metadata(io.BytesIO(data)).row_group(0).column(1).total_uncompressed_size
    told, lie = (bytes([2 * number & 127 | 128, number >> 6]) for number in (size, 100))
    assert data.count(told) == 1
    monkeypatch.setattr("atelier_materials.dataset.table_rows.MAX_TABLE_BYTES", 3_000)
    _, found = read(tmp_path, {"a.png": "", "metadata.parquet": data.replace(told, lie)})
    named = "one of its columns is over 3,000 bytes once unpacked"
    assert found == {Finding.CAPTION_UNREADABLE: [f"metadata.parquet {named}"]}


@pytest.mark.parametrize(
    "header",
    [b"", b"\x80" * 20, b"\x1c" * 5_000, b"\x19\x00\x00", b"\x00", b"\x25\x02\x15\x01\x00", b"\x15\x00" * 600_000],
    ids=["none", "number", "depth", "list", "no sizes", "negative", "fields"],
)
def test_pages_that_are_none_are_refused(header: bytes) -> None:
    """Whatever lies where a page should be ends the reading, and none of it runs on."""
    with pytest.raises((PagesUnreadable, RecursionError)):
        measure_pages(b"PAR1" + header, [(4, max(len(header), 1))] if header else [(3, 1)])


@pytest.mark.parametrize("texts", [[1, 2], [b"one", b"two"], [[["one"]], [["two"]]]])
def test_parquet_without_texts_is_named(tmp_path: Path, texts: list[Any]) -> None:
    """A column of another kind than texts and lists of them is no column of captions."""
    _, found = read(tmp_path, {"a.png": "", "metadata.parquet": write_parquet({"text": texts})})
    assert found == {Finding.CAPTION_UNREADABLE: ["metadata.parquet it has no column of captions, or two of one name"]}
