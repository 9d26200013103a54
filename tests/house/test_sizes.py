"""The walls: how long a file or a function may be. The habit is far below (250 and 50 lines)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from checkout import list_python, name_of, parse

FILE_LINES = 400
FUNCTION_LINES = 80


def list_functions() -> Iterator[tuple[str, int]]:
    for path in list_python():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                yield f"{name_of(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_no_file_is_beyond_the_wall() -> None:
    """A file of more than 400 lines has more than one subject."""
    long = {name_of(path): n for path in list_python() if (n := len(path.read_text().splitlines())) > FILE_LINES}
    assert not long


def test_no_function_is_beyond_the_wall() -> None:
    """A function of more than 80 lines does more than one thing."""
    assert not {name: lines for name, lines in list_functions() if lines > FUNCTION_LINES}


def test_there_is_something_to_measure() -> None:
    """The walls stand around every package, not around an empty list."""
    assert len(list(list_functions())) > 100
