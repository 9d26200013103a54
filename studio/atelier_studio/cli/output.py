"""What is printed: tables for people, JSON, YAML and names for programs; plain when piped.

In come objects and rows that are ready, out goes text on standard output. Colours only on a terminal, and never where
NO_COLOR is set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from atelier_studio.actions.documents import Object, drop_bookkeeping, name_object, write_json, write_yaml

if TYPE_CHECKING:
    from rich.console import Console

Row = Sequence[str]
GAP = "   "
"""Between two columns, as kubectl has it."""
STYLES = {
    "Failed": "red",
    "Invalid": "red",
    "Unusable": "red",
    "Training": "cyan",
    "AwaitingSelection": "green",
    "Finalized": "green",
    "Published": "green",
    "Selected": "green",
    "Suspended": "yellow",
    "Restarting": "yellow",
}
"""Colours of words in tables. The word itself says all: who sees no colour misses nothing."""


class Output(StrEnum):
    """What `-o` takes."""

    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def is_terminal() -> bool:
    """Return whether a person sees the output and can answer: standard input and output are both terminals."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_console(*, stderr: bool = False) -> Console:
    """Return where styled text is printed; it writes plain text into pipes and heeds NO_COLOR."""
    from rich.console import Console  # noqa: PLC0415  (only what prints styled text waits for it)

    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a line on standard output."""
    sys.stdout.write(text + "\n")


def say_aside(text: str) -> None:
    """Print a line on standard error: for people, not for whatever reads the output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show(objects: Object | Sequence[Object], output: Output | None, columns: Row, rows: Sequence[Row]) -> None:
    """Print objects as asked by `-o`.

    Args:
        objects: one object, or several.
        output: None and `wide`: the table.
        columns: headings of the table.
        rows: its rows, in the order of the objects.
    """
    if output in {None, Output.WIDE}:
        show_table(columns, rows)
    elif output is Output.NAME:
        for body in [objects] if isinstance(objects, dict) else objects:
            say(name_object(body))
    else:
        plain = drop_bookkeeping(objects) if isinstance(objects, dict) else [drop_bookkeeping(body) for body in objects]
        sys.stdout.write(write_json(plain) if output is Output.JSON else write_yaml(plain))


def show_table(columns: Row, rows: Sequence[Row]) -> None:
    """Print rows under headings; lines are never cut, so that pipes see everything."""
    lines = align([columns, *rows])
    if not sys.stdout.isatty():
        for line in lines:
            say(GAP.join(line).rstrip())
        return
    from rich.text import Text  # noqa: PLC0415  (only a terminal has colours)

    console = open_console()
    console.print(Text(GAP.join(lines[0]).rstrip(), style="bold"))
    for line in lines[1:]:
        row = Text(GAP).join(Text(cell, style=STYLES.get(cell.strip(), "")) for cell in line)
        row.rstrip()  # or the blanks of a wide table wrap into empty lines
        console.print(row)


def align(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells padded to the width of their columns, wide characters counted as two."""
    from rich.cells import cell_len  # noqa: PLC0415  (as above)

    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [[cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows]
