"""Rows of a table of captions, read so that no table can cost more than its size lets expect.

In: the bytes of a JSON lines, CSV or Parquet file. Out: its rows, each with its number. A table is somebody else's:
lines, columns, rows and what a page of Parquet unpacks to are counted while they are read, and not once they fill the
memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atelier_materials.dataset.parquet_pages import PagesUnreadable, measure_pages

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

MAX_TABLE_BYTES = 64 << 20
"""100,000 captions of 600 bytes; of Parquet, unpacked too."""
MAX_ROWS = 200_000
"""Pictures a dataset may have."""
MAX_LINES = 5 * MAX_ROWS
"""Captions may have several, and blank ones may lie between."""
MAX_ROW_LENGTH = 1 << 20
"""As many captions as a picture may have, each as long as one may be, twice over."""
MOST_COLUMNS = 100
"""Of a CSV: more than twice what lists of labels that are published with pictures have."""
MAX_VALUES = 8 * MAX_ROWS
"""Of a column of Parquet, in whose rows lists may be."""
MAX_FOOTER_BYTES = 1 << 20
"""What a Parquet file says of itself: its reader unfolds that before anything can be counted."""
ROWS_AT_ONCE = 1000
DELTAS = frozenset({"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"})
"""Encodings of Parquet that cannot be read as dictionaries; in the first, each text may hold all of the one before."""

Row = tuple[int, dict[str, object] | None]
"""The number of its line, or of the row in Parquet, and what it says; None: it is no JSON object."""


class TableRefused(Exception):
    """The table is not of its format, or costs more than one may. The words say where, never what is written there."""


def read_rows(data: bytes, path: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of a table; of Parquet the named columns alone.

    Raises:
        TableRefused: it cannot be read, or beyond a bound no further.
        ImportError: it is Parquet, and the extra that reads it is not installed.
    """
    if path.endswith(".parquet"):
        rows = _read_parquet(data, columns)
    elif path.endswith(".jsonl"):
        rows = _read_json_lines(data)
    else:
        rows = _read_csv(data)
    try:
        for count, row in enumerate(rows, 1):
            if count > MAX_ROWS:
                raise TableRefused(f"it has over {MAX_ROWS:,} rows")
            yield row
    except (ValueError, csv.Error) as error:
        raise TableRefused from error


def _read_lines(data: bytes, newline: str) -> Iterator[str]:
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=newline)
    for number, line in enumerate(iter(lambda: text.readline(MAX_ROW_LENGTH + 1), ""), 1):
        if number > MAX_LINES:
            raise TableRefused(f"it has over {MAX_LINES:,} lines")
        if len(line) > MAX_ROW_LENGTH:
            raise TableRefused(f"line {number} has over {MAX_ROW_LENGTH:,} characters")
        yield line


def _read_json_lines(data: bytes) -> Iterator[Row]:
    for number, line in enumerate(_read_lines(data, "\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield number, row if isinstance(row, dict) else None


def _read_csv(data: bytes) -> Iterator[Row]:
    taken = 0

    def read_lines() -> Iterator[str]:
        nonlocal taken
        for line in _read_lines(data, ""):
            taken += len(line)
            if taken > MAX_ROW_LENGTH:  # many quoted lines are one row
                raise TableRefused(f"line {rows.line_num} ends a row of over {MAX_ROW_LENGTH:,} characters")
            yield line

    rows = csv.reader(read_lines())
    names: list[str] = []
    for cells in rows:
        taken = 0
        if len(cells) > MOST_COLUMNS:
            raise TableRefused(f"line {rows.line_num} has over {MOST_COLUMNS} columns")
        if names and cells:
            yield rows.line_num, dict(zip(names, cells, strict=False))
        names = names or cells


def _read_parquet(data: bytes, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield rows of the columns that hold texts, a few at a time, once their texts are known not to fill the memory.

    One text that a thousand rows have is written once, and a reader that is asked for texts makes a thousand of it.
    Asked for dictionaries, it keeps one and a number for each row, so that lengths are added up before texts are made.
    """
    from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra, and slow to load

    if data.endswith(b"PAR1") and int.from_bytes(data[-8:-4], "little") > MAX_FOOTER_BYTES:
        raise TableRefused(f"what it says of itself is over {MAX_FOOTER_BYTES:,} bytes")
    taken = count = 0
    try:
        facts = parquet.read_metadata(io.BytesIO(data))
        if facts.num_rows == 0:
            return  # its columns may lie nowhere
        leaves = _judge_columns(data, facts, columns)
        with parquet.ParquetFile(io.BytesIO(data), metadata=facts, read_dictionary=leaves) as table:
            texts = [field.name for field in table.schema_arrow if field.name in columns and _is_text(field.type)]
            if not texts or any(table.schema_arrow.names.count(name) > 1 for name in texts):
                raise TableRefused("it has no column of captions, or two of one name")
            batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=texts, use_threads=False)
            for batch in batches:
                taken += sum(map(_count_bytes, batch.columns))
                if taken > MAX_TABLE_BYTES:
                    raise TableRefused(f"its captions are over {MAX_TABLE_BYTES:,} bytes once unpacked")
                for row in batch.to_pylist():
                    count += 1
                    yield count, row
    except (ArrowException, OSError, PagesUnreadable, RecursionError) as error:
        raise TableRefused from error


def _judge_columns(data: bytes, facts: parquet.FileMetaData, columns: tuple[str, ...]) -> list[str]:
    """Return the paths of the named columns' values, where what their pages unpack to is within bounds."""
    if facts.num_rows > MAX_ROWS:
        raise TableRefused(f"it has over {MAX_ROWS:,} rows")
    leaves = [facts.schema.column(index) for index in range(facts.num_columns)]
    paths = [leaf.path for leaf in leaves]
    # What holds no text, as pictures within the table, is not read.
    wanted = [
        index
        for index, leaf in enumerate(leaves)
        if leaf.path.split(".")[0] in columns and leaf.logical_type.type == "STRING"
    ]
    for index in wanted:
        chunks = [facts.row_group(group).column(index) for group in range(facts.num_row_groups)]
        if any(DELTAS.intersection(chunk.encodings) for chunk in chunks):
            raise TableRefused("its texts are written as differences: write them plain, or as a dictionary")
        pages = measure_pages(data, [(_find_start(chunk), chunk.total_compressed_size) for chunk in chunks])
        if pages.values > MAX_VALUES:
            raise TableRefused(f"one of its columns has over {MAX_VALUES:,} values")
        if pages.unpacked_bytes > MAX_TABLE_BYTES:
            raise TableRefused(f"one of its columns is over {MAX_TABLE_BYTES:,} bytes once unpacked")
    return [paths[index] for index in wanted]


def _find_start(chunk: parquet.ColumnChunkMetaData) -> int:
    """Return where the reader begins: at the dictionary, if it has one that lies before its values."""
    dictionary: int = chunk.dictionary_page_offset or 0
    values: int = chunk.data_page_offset
    return dictionary if 0 < dictionary < values else values


def _is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts or lists of them, read as dictionaries."""
    from pyarrow import types  # noqa: PLC0415 - as above

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(
        types.is_dictionary(kind) and (types.is_string(kind.value_type) or types.is_large_string(kind.value_type))
    )


def _count_bytes(column: pa.Array) -> int:
    """Return how many bytes the texts of a column are, each counted as often as it occurs."""
    from pyarrow import compute, types  # noqa: PLC0415 - as above

    values = column if types.is_dictionary(column.type) else column.flatten()
    return compute.sum(compute.binary_length(values.dictionary).take(values.indices)).as_py() or 0
