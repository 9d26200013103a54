"""Mistakes in folders of pictures, as `dataset check` names them on one's own machine: file, reason, what to do."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from journey import TEAPOTS
from picture_files import build_bomb, draw_gif, draw_png
from plugin import Terminal, assert_refused

STRICT = 4
PREPARE = "docs/how-to/prepare-pictures.md"


def break_caption(folder: Path) -> None:
    """Write a caption that is no text."""
    (folder / "teapot-05.txt").write_bytes(b"\xff\xfe\x00")


def break_table(folder: Path) -> None:
    """Write a table of captions whose last line is cut off."""
    for caption in folder.glob("*.txt"):
        caption.unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "teapot-01.png", "text": "a pot"}\n{"file_name": "teapot-02')


def cut_picture(folder: Path) -> None:
    """Cut a picture off in the middle."""
    whole = (folder / "teapot-03.jpg").read_bytes()
    (folder / "teapot-03.jpg").write_bytes(whole[: len(whole) // 2])


def double_caption(folder: Path) -> None:
    """Write the trigger twice into a caption."""
    (folder / "teapot-05.txt").write_text("TKXW teapot, a TKXW teapot on a table")


MISTAKES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a caption is missing": (
        lambda folder: (folder / "teapot-03.txt").unlink(),
        ("Warning", "CaptionMissing", "teapot-03.jpg", "add NAME.txt beside it", "Usable for embeddings;"),
    ),
    "a caption without its dot": (
        lambda folder: (folder / "teapot-04.txt").rename(folder / "teapot-04txt"),
        ("CaptionMisnamed", "teapot-04txt", "without a dot before it"),
    ),
    "a caption that is no text": (break_caption, ("CaptionUnreadable", "teapot-05.txt", "write UTF-8 text")),
    "a broken metadata.jsonl": (break_table, ("CaptionUnreadable", "metadata.jsonl", "file_name and text")),
    "a picture cut off": (cut_picture, ("Error", "UnreadablePicture", "teapot-03.jpg", "Export it again")),
    "the same picture twice": (
        lambda folder: shutil.copy(folder / "teapot-01.png", folder / "twin.png"),
        ("DuplicatePicture", "twin.png", "the same as teapot-01.png", "Remove one"),
    ),
    "a tiny picture": (
        lambda folder: (folder / "dot.png").write_bytes(draw_png(20, 20)),
        ("PictureTooSmall", "dot.png", "under 64 pixels"),
    ),
    "a picture made to fill memory": (
        lambda folder: (folder / "bomb.png").write_bytes(build_bomb()),
        ("Error", "PictureTooLarge", "bomb.png", "Left out", "megapixels"),
    ),
    "a picture of another format": (
        lambda folder: (folder / "old.gif").write_bytes(draw_gif()),
        ("FormatNotAllowed", "old.gif", "Convert it"),
    ),
    "a caption whose picture is gone": (
        lambda folder: (folder / "teapot-03.jpg").rename(folder / "pot.jpg"),
        ("CaptionWithoutPicture", "teapot-03.txt", "rename one of the two", "CaptionMissing", "pot.jpg"),
    ),
    "names that differ in case alone": (
        lambda folder: shutil.copy(folder / "teapot-02.png", folder / "Teapot-02.png"),
        ("NameCaseClash", "upper and lower case alone", "Rename one"),
    ),
    "too few pictures": (
        lambda folder: [path.unlink() for path in folder.glob("teapot-1*")],
        ("FewPictures", "Under 12 pictures none are held out"),
    ),
}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal without any cluster, beside a folder of good pictures."""
    shutil.copytree(TEAPOTS, tmp_path / "teapots")
    return Terminal(tmp_path)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_folder_is_a_finding(terminal: Terminal, name: str) -> None:
    """The table names the file and the reason, the line below says what to do, and a build stops at it."""
    spoil, says = MISTAKES[name]
    spoil(terminal.folder / "teapots")
    answer = terminal.type("dataset", "check", "teapots", "--strict")
    assert answer.exit_code == STRICT, answer.everything
    assert "Traceback" not in answer.everything
    assert not [said for said in says if said not in answer.out], answer.out


def test_the_trigger_twice(terminal: Terminal) -> None:
    """A caption that holds its trigger twice is named, when the trigger is told."""
    double_caption(terminal.folder / "teapots")
    answer = terminal.type("dataset", "check", "teapots", "--strict", "--trigger", "TKXW")
    assert answer.exit_code == STRICT, answer.everything
    assert "TriggerDoubled" in answer.out
    assert "teapot-05" in answer.out


def zip_files(path: Path, **files: bytes) -> None:
    """Write an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


ARCHIVES: dict[str, tuple[dict[str, bytes], tuple[str, ...], str]] = {
    "an entry that climbs out": (
        {"../evil.png": b"x"},
        ("ArchiveUnsafePath", "entry ../evil.png", "outside its folder", "Do not trust it"),
        "archiveunsafepath",
    ),
    "a bomb": ({"a.png": bytes(200_000_000)}, ("ArchiveBomb", "entry a.png", "grow a hundredfold"), "archivebomb"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_refused(terminal: Terminal, name: str) -> None:
    """The sentence names the entry, why it is refused, and what to do; nothing is unpacked beside the archive."""
    files, says, anchor = ARCHIVES[name]
    zip_files(terminal.folder / "pots.zip", **files)
    before = sorted(terminal.folder.rglob("*"))
    answer = terminal.type("dataset", "check", "pots.zip")
    assert_refused(answer, 2, *says, page=f"docs/troubleshooting.md#{anchor}")
    assert sorted(terminal.folder.rglob("*")) == before


def test_an_archive_that_is_torn(terminal: Terminal) -> None:
    """Half an archive is called so, with what to do."""
    zip_files(terminal.folder / "whole.zip", **{"a.png": draw_png()})
    (terminal.folder / "pots.zip").write_bytes((terminal.folder / "whole.zip").read_bytes()[:60])
    answer = terminal.type("dataset", "check", "pots.zip")
    says = ("ArchiveUnreadable", "pots.zip", "pack it again")
    assert_refused(answer, 2, *says, page="docs/troubleshooting.md#archiveunreadable")


@pytest.mark.parametrize(
    ("typed", "says"), [("taepots", "taepots is neither a folder"), ("teapots/teapot-01.png", "name the folder")]
)
def test_what_is_no_folder(terminal: Terminal, typed: str, says: str) -> None:
    """What is neither a folder nor an archive is named, with what to name instead."""
    assert_refused(terminal.type("dataset", "check", typed), 2, says, page=PREPARE)
