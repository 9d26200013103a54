"""What the columns of a Parquet file unpack to, by the headers of their pages.

A reader makes as much room for a page as the page's own header says, whatever the footer says of its column: 9 KB can
ask for gigabytes. So the headers are read before any page is: structs of Thrift's compact protocol, of which numbers
alone matter here (parquet.thrift of apache/parquet-format: `PageHeader`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

MAX_HEADER_BYTES = 1 << 20
"""Of all headers of a column: 20,000 pages, where 200,000 rows make a few hundred."""
LONGEST_NUMBER = 10
"""Bytes of a number of 64 bits, seven in each."""
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12
"""What a field is; lists and maps are in no header."""
UNPACKED_SIZE, PACKED_SIZE, DATA_PAGE, DATA_PAGE_2 = 2, 3, 5, 8
"""Fields of a header."""
VALUES = 1
"""Field of either kind of data page."""

Struct = dict[int, "int | Struct"]


class PagesUnreadable(Exception):
    """The headers are no headers, or there are too many of them."""


@dataclass(frozen=True)
class Pages:
    """What the pages of a column say of themselves, taken together."""

    unpacked_bytes: int
    values: int


def measure_pages(data: bytes, chunks: Iterable[tuple[int, int]]) -> Pages:
    """Return what a column unpacks to.

    Args:
        data: the file.
        chunks: where the pages of the column begin, and how many bytes they are, in each group of rows.

    Raises:
        PagesUnreadable: what lies there are no pages, or far too many.
    """
    source = io.BytesIO(data)
    unpacked = values = headers = 0
    for start, size in chunks:
        at = start
        while at < min(start + size, len(data)):
            source.seek(at)
            header = _read_struct(source, at + MAX_HEADER_BYTES - headers)
            headers += source.tell() - at
            at = source.tell() + _expect_size(header, PACKED_SIZE)
            unpacked += _expect_size(header, UNPACKED_SIZE)
            page = header.get(DATA_PAGE, header.get(DATA_PAGE_2))
            values += _expect_size(page, VALUES) if isinstance(page, dict) else 0
    return Pages(unpacked, values)


def _expect_size(struct: Struct, number: int) -> int:
    size = struct.get(number)
    if not isinstance(size, int) or size < 0:
        raise PagesUnreadable
    return size


def _read_struct(source: io.BytesIO, end: int) -> Struct:
    fields: Struct = {}
    number = 0
    while (head := _read_byte(source)) != 0:
        if source.tell() > end:
            raise PagesUnreadable
        number = number + (head >> 4) if head >> 4 else _read_signed(source)
        kind = head & 15
        if kind in {I16, I32, I64}:
            fields[number] = _read_signed(source)
        elif kind == STRUCT:
            fields[number] = _read_struct(source, end)
        elif kind in {BYTE, DOUBLE, BINARY}:
            source.seek({BYTE: 1, DOUBLE: 8}.get(kind) or _read_number(source), io.SEEK_CUR)
        elif kind not in {TRUE, FALSE}:
            raise PagesUnreadable
    return fields


def _read_signed(source: io.BytesIO) -> int:
    number = _read_number(source)
    return number >> 1 ^ -(number & 1)


def _read_number(source: io.BytesIO) -> int:
    number = 0
    for place in range(LONGEST_NUMBER):
        byte = _read_byte(source)
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number
    raise PagesUnreadable


def _read_byte(source: io.BytesIO) -> int:
    byte = source.read(1)
    if not byte:
        raise PagesUnreadable
    return byte[0]
