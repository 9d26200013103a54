"""Names of files that come from strangers: which are left out, and how any of them is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_contract.reasons import Finding
from atelier_materials.dataset.findings import Findings
from atelier_materials.dataset.naming import escape_name, fold_name, judge_name


@pytest.mark.parametrize(
    "path",
    ["a.png", "Kaffee & Küche #1 (50%).png", "猫/写真 1.jpg", "émoji 👩‍🎨.png", "a" * 196 + ".png", "a b\u00a0c.png"],
)
def test_ordinary_names_are_kept(path: str) -> None:
    """Names in any script, with spaces, signs and emoji are fit, and shown as they are."""
    assert (judge_name(path), escape_name(path)) == (None, path)


@pytest.mark.parametrize(
    ("path", "finding"),
    [
        ("a\nb.png", Finding.NAME_UNSAFE),
        ("a\rb.png", Finding.NAME_UNSAFE),
        ("\x1b[2Ja.png", Finding.NAME_UNSAFE),
        ("a\u202egnp.exe", Finding.NAME_UNSAFE),
        ("\u2066a.png", Finding.NAME_UNSAFE),
        ("a\u200b.png", Finding.NAME_UNSAFE),
        ("a\u2028b.png", Finding.NAME_UNSAFE),
        ("a\udcff.png", Finding.NAME_UNSAFE),
        ("a\0.png", Finding.NAME_UNSAFE),
        ("a" * 251 + ".png", Finding.NAME_TOO_LONG),
        ("ü" * 110 + ".png", Finding.NAME_TOO_LONG),
        ("/".join(["a" * 150] * 7), Finding.NAME_TOO_LONG),
    ],
)
def test_unfit_names_are_left_out(path: str, finding: Finding) -> None:
    """Line breaks, controls, marks of direction, bytes that are no text, and 255 bytes each have their finding."""
    assert judge_name(path) == finding


@given(st.text(st.characters(), max_size=50))
def test_shown_names_stay_on_their_line(path: str) -> None:
    """Whatever a name holds, what is shown of it can be encoded and is one line without anything unseen."""
    shown = escape_name(path)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert judge_name(shown or "x") in {None, Finding.NAME_TOO_LONG}


@pytest.mark.parametrize(("one", "other"), [("A/b.PNG", "a/B.png"), ("\u00fc.png", "u\u0308.png"), ("ẞ.png", "ss.png")])
def test_names_that_some_file_systems_take_for_one(one: str, other: str) -> None:
    """Case and ways to write an accent do not tell files apart everywhere."""
    assert fold_name(one) == fold_name(other)


def test_findings_show_names_safely() -> None:
    """What a finding tells of a file can be printed and written anywhere."""
    findings = Findings()
    findings.add(Finding.NAME_UNSAFE, "a\n\udcff.png", "\x1b[2J")
    assert [(found.path, found.detail) for found in findings.list_files()] == [("a\\x0a\\udcff.png", "\\x1b[2J")]
