"""Names of files, which come from strangers: which are fit to keep, and how any of them is shown.

A name may hold line breaks, escape sequences of terminals, marks that turn the direction of writing, or bytes that are
no text. Such files are left out, and whatever prints a name, fit or not, prints what `escape_name` returns. Pure.
"""

from __future__ import annotations

import unicodedata

from atelier_contract.reasons import Finding

MAX_PART_BYTES = 200
"""Of one part of a path in UTF-8. File systems end at 255, and copies get suffixes of their own."""
MAX_PATH_BYTES = 900
"""Object stores end at 1,024 bytes a key, and a key begins with the namespace's prefix."""
UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's controls, lone surrogates (bytes that are no UTF-8), private and unassigned, ends of lines."""
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing: `gnp.exe` can be shown as `exe.png` (UAX 9)."""
INVISIBLE = frozenset("\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\u00ad\u180e")
"""Without a width: two names that differ in these alone look the same. Joiners stay, which emoji are made of."""


def judge_name(path: str) -> Finding | None:
    """Return why a file of this path is left out, or None where its name is fit to keep."""
    if len(path) > MAX_PATH_BYTES:  # first of all: looking at each sign takes its time
        return Finding.NAME_TOO_LONG
    if not path.isprintable() and any(_is_unsafe(sign) for sign in set(path)):  # whatever is unsafe is not printable
        return Finding.NAME_UNSAFE
    sizes = [len(part.encode()) for part in path.split("/")]
    if max(sizes) > MAX_PART_BYTES or len(path.encode()) > MAX_PATH_BYTES:
        return Finding.NAME_TOO_LONG
    return None


def escape_name(path: str) -> str:
    r"""Return a path as it may be printed anywhere: on one line, in the direction it is written, nothing hidden.

    What is unsafe becomes its number, as in `a\u202egnp.exe`. HTML needs its own escaping besides.
    """
    return "".join(_show(sign) if _is_unsafe(sign) else sign for sign in path)


def fold_name(path: str) -> str:
    """Return what a path is where neither case nor ways to write an accent count, as on Windows and macOS."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _is_unsafe(sign: str) -> bool:
    return sign in TURNING or sign in INVISIBLE or unicodedata.category(sign) in UNSAFE_CATEGORIES


def _show(sign: str) -> str:
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
