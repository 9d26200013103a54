"""The checkout as tests see it: its files, and Python's syntax trees of them."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "atelier_contract": CHECKOUT / "crds" / "atelier_contract",
    "atelier_operator": CHECKOUT / "operator" / "atelier_operator",
    "atelier_trainer": CHECKOUT / "trainer-image" / "atelier_trainer",
    "atelier_studio": CHECKOUT / "studio" / "atelier_studio",
    "atelier_playground": CHECKOUT / "playground" / "atelier_playground",
}
"""Our packages by name."""


@functools.cache
def list_files() -> tuple[Path, ...]:
    """List every file that is tracked, or would be if it were added now."""
    command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = (CHECKOUT / name for name in sorted(set(found.split("\0"))) if name)
    return tuple(path for path in paths if path.is_file())


def list_python() -> tuple[Path, ...]:
    """List every Python file."""
    return tuple(path for path in list_files() if path.suffix == ".py")


def list_modules(package: str) -> tuple[Path, ...]:
    """List the modules of one of our packages."""
    return tuple(path for path in list_python() if path.is_relative_to(PACKAGES[package]))


@functools.cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(), str(path))


def read_text(path: Path) -> str | None:
    """Return a file's text; None where it is no text."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def name_of(path: Path) -> str:
    """Return a file's path as people write it."""
    return path.relative_to(CHECKOUT).as_posix()
