"""`kubectl atelier dataset check` as a person types it, without any cluster."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from atelier_contract.report import DatasetReport
from atelier_studio.cli.main import app, run_command
from atelier_studio.errors import Exit
from picture_files import draw_jpeg, draw_png
from pushed_folders import lock_file, lock_folder

GOOD = {f"{number}.png": draw_png(70 + number, colour=(number * 20, 90, 255 - number * 20)) for number in range(12)}
CAPTIONED = {**GOOD, **{f"{number}.txt": b"TKXW, a cup" for number in range(12)}}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder called cups."""
    for name, data in files.items():
        path = folder / "cups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "cups"


@pytest.fixture
def type_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Type words after `kubectl atelier dataset check`; return the exit code. No kubeconfig is there."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    def type_words(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["kubectl-atelier", "dataset", "check", *map(str, words)])
        return run_command(app)

    return type_words


def test_good_folder(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good folder ends with 0 under --strict, and says what it is good for."""
    assert type_words(write_folder(tmp_path, CAPTIONED), "--strict", "--trigger", "TKXW") == Exit.DONE
    assert "Usable for concept models and embeddings. Nothing stands in the way." in capsys.readouterr().out


@pytest.mark.parametrize(("words", "code"), [((), Exit.DONE), (("--strict",), Exit.FINDINGS)])
def test_findings_end_with_four_under_strict_alone(
    type_words, tmp_path: Path, words: tuple[str, ...], code: Exit
) -> None:
    """Warnings and errors are told in any case, and fail where none are allowed."""
    assert type_words(write_folder(tmp_path, {**CAPTIONED, "cut.jpg": draw_jpeg()[:-400]}), *words) == code


def test_hints_pass_under_strict(type_words, tmp_path: Path) -> None:
    """What is only good to know fails nothing."""
    files = {**CAPTIONED, "orphan.txt": b"no picture"}
    assert type_words(write_folder(tmp_path, files), "--strict") == Exit.DONE


def test_no_usable_picture(type_words, tmp_path: Path) -> None:
    """Where nothing can be used the command fails, strict or not."""
    assert type_words(write_folder(tmp_path, {"cut.jpg": draw_jpeg()[:-400]})) == Exit.FAILED


def test_table_names_file_and_fix(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each finding is told with its file, what was seen, and what to do."""
    type_words(write_folder(tmp_path, {**CAPTIONED, "3.txt": b"tkxw, a cup"}), "--trigger", "TKXW")
    said = capsys.readouterr().out
    assert "Warning TriggerMisspelt 3.png tkxw, nearly TKXW" in " ".join(said.split())
    assert "Write it as the trigger is written." in said


def test_empty_folder_is_said_in_a_laptops_words(
    type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with nothing in it is told as such, without the words of a Dataset in a cluster."""
    (tmp_path / "cups").mkdir()
    assert type_words(tmp_path / "cups") == Exit.BAD_REQUEST
    said = capsys.readouterr().err
    assert ("the folder holds no file" in said, "spec.source" in said) == (True, False)


def test_terminal_and_page_tell_the_same_shapes(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Families of one resolution merge thin shapes by batches of their own: both tell the first family's."""
    wide = draw_png(1280, 640)
    type_words(write_folder(tmp_path, {**GOOD, "wide.png": wide}), "--report", tmp_path / "page.html")
    told = [row.split()[:5] for row in capsys.readouterr().out.splitlines() if row.startswith(("512 px", "1024 px"))]
    page = (tmp_path / "page.html").read_text()
    assert [f"{row[2]} × {row[4]}" for row in told] == re.findall(r'scope="row">(\d+ × \d+)<', page)


def test_many_files_of_a_kind_are_cut(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The usual table names five files of a kind and counts the rest."""
    type_words(write_folder(tmp_path, GOOD))
    assert "and 7 more" in capsys.readouterr().out


def test_wide_names_every_file(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o wide leaves no file out."""
    type_words(write_folder(tmp_path, GOOD), "-o", "wide")
    said = capsys.readouterr().out
    assert all(name in said for name in GOOD)
    assert "more" not in said


def test_json_is_the_report(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o json prints the contract's document and nothing else."""
    type_words(write_folder(tmp_path, CAPTIONED), "-o", "json", "--architecture", "Flux1", "--steps", "90")
    report = DatasetReport.model_validate(json.loads(capsys.readouterr().out))
    assert (report.dataset, report.items, [(plan.architecture, plan.steps) for plan in report.plans]) == (
        "cups",
        12,
        [("Flux1", 90)],
    )


def test_yaml_is_the_report(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o yaml prints the same document."""
    type_words(write_folder(tmp_path, CAPTIONED), "-o", "yaml")
    assert DatasetReport.model_validate(yaml.safe_load(capsys.readouterr().out)).items == 12


def test_names_are_those_to_look_at(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o name prints the files with errors and warnings, one a line."""
    type_words(write_folder(tmp_path, {**CAPTIONED, "cut.jpg": draw_jpeg()[:-400], "lost.txt": b"x"}), "-o", "name")
    assert capsys.readouterr().out == "cut.jpg\n"


def test_page_is_written(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--report writes the page, and says so beside the output."""
    page = tmp_path / "report.html"
    type_words(write_folder(tmp_path, CAPTIONED), "--report", page, "-o", "json")
    assert page.read_text().startswith("<!doctype html>")
    assert f"wrote {page}" in capsys.readouterr().err


def test_page_in_no_folder(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that cannot be written is refused before a picture is looked at."""
    code = type_words(write_folder(tmp_path, CAPTIONED), "--report", tmp_path / "absent" / "report.html")
    assert code == Exit.BAD_REQUEST
    assert "is no folder: name a file in one that is there (--report)" in capsys.readouterr().err


def test_archive_is_checked(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An archive is looked at as the folder that it holds, under its own name."""
    with zipfile.ZipFile(tmp_path / "cups.zip", "w") as archive:
        for name, data in CAPTIONED.items():
            archive.writestr(f"inside/{name}", data)
    type_words(tmp_path / "cups.zip", "-o", "json")
    report = json.loads(capsys.readouterr().out)
    assert (report["dataset"], report["items"], report["files"]) == ("cups", 12, [])


def test_links_are_the_files_they_lead_to(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a push follows is checked too, to the same revision; a link that leads round in a circle is no file."""
    folder, links = write_folder(tmp_path, CAPTIONED), tmp_path / "links"
    links.mkdir()
    for path in folder.iterdir():
        (links / path.name).symlink_to(path)
    (links / "round.png").symlink_to(links / "round.png")
    revisions = []
    for one in (folder, links):
        assert type_words(one, "-o", "json") == Exit.DONE
        revisions.append(json.loads(capsys.readouterr().out)["revision"])
    assert revisions[0] == revisions[1]


@pytest.mark.parametrize("locked", [(lock_file, "sub/3.png"), (lock_file, "sub/3.txt"), (lock_folder, "sub")])
def test_what_cannot_be_read(
    type_words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], locked
) -> None:
    """A file or folder that may not be read is told by its name in a laptop's words, and not passed over."""
    folder = write_folder(tmp_path, {**CAPTIONED, "sub/3.png": GOOD["3.png"], "sub/3.txt": b"TKXW, a cup"})
    lock, name = locked
    lock(monkeypatch, folder / name)
    assert type_words(folder) == Exit.BAD_REQUEST
    assert f"cups/{name} cannot be read (Permission denied): let yourself read it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["absent", "notes.md"])
def test_neither_folder_nor_archive(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What is neither is refused with what to name instead."""
    (tmp_path / "notes.md").write_text("x")
    assert type_words(tmp_path / name) == Exit.BAD_REQUEST
    assert "is neither a folder nor an archive (zip, tar): name the folder" in capsys.readouterr().err


def test_named_layout(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--layout reads a folder as it is said to be: plain has no captions."""
    type_words(write_folder(tmp_path, CAPTIONED), "--layout", "Plain", "-o", "json")
    assert json.loads(capsys.readouterr().out)["captioned"] == 0


def test_captions_are_not_printed(type_words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No caption is printed, whatever is wrong with it."""
    files = {**CAPTIONED, "3.txt": b"sekretwort " * 90, "4.txt": b"\xff\xfe"}
    for output in ((), ("-o", "wide"), ("-o", "json")):
        type_words(write_folder(tmp_path, files), "--trigger", "TKXW", *output)
    printed = capsys.readouterr()
    assert "sekretwort" not in printed.out + printed.err
