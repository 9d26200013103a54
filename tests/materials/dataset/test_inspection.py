"""An inspection of a folder: what only several files beside one another show, and the report that comes of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from atelier_contract.architectures import Architecture
from atelier_contract.reasons import Finding
from atelier_materials.dataset import inspection as inspection_module
from atelier_materials.dataset.consistency import CaptionRules
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.inspection import Checks, Inspection, inspect_dataset
from atelier_materials.dataset.plans import build_plans
from atelier_materials.dataset.reports import build_report
from atelier_materials.dataset.sources import DatasetFolder, Folder
from atelier_materials.store.volume_store import VolumeStore
from picture_files import draw_jpeg, draw_png

PICTURES = {f"{number}.png": draw_png(70 + number, colour=(number * 20, 90, 255 - number * 20)) for number in range(12)}


def inspect_files(folder: Path, files: dict[str, bytes | str], **rules: object) -> Inspection:
    """Write files and inspect their folder as `dataset check` does."""
    for name, content in files.items():
        path = folder / "dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    dataset = DatasetFolder(Folder(VolumeStore(folder / "dataset"), ""), "Upload")
    return inspect_dataset(dataset, folder / "scratch", checks=Checks(captions=CaptionRules(**rules)))


def list_found(inspection: Inspection, finding: Finding) -> list[tuple[str, str, str]]:
    """Return path, detail and other path of each file with a fault."""
    found: list[FileFound] = inspection.findings.list_files()
    return [(file.path, file.detail, file.other) for file in found if file.finding is finding]


def caption_all(text: str, but: dict[str, str] | None = None) -> dict[str, bytes | str]:
    """Return twelve pictures with one caption, but for some."""
    captions = {f"{number}.txt": text for number in range(12)}
    return {**PICTURES, **captions, **(but or {})}


@pytest.mark.parametrize(
    ("caption", "finding", "detail"),
    [
        ("tkxw, a cup", Finding.TRIGGER_MISSPELT, "tkxw, nearly TKXW"),
        ("TKXW, a TKXW cup", Finding.TRIGGER_DOUBLED, "TKXW is in it 2 times"),
        ("a cup", Finding.TRIGGER_ABSENT, "without TKXW"),
    ],
)
def test_caption_is_held_against_the_trigger(tmp_path: Path, caption: str, finding: Finding, detail: str) -> None:
    """A caption out of step with the trigger is named with what is wrong."""
    inspection = inspect_files(tmp_path, caption_all("TKXW, a cup", {"3.txt": caption}), trigger="TKXW")
    assert list_found(inspection, finding) == [("3.png", detail, "")]


def test_inconsistent_captions_without_a_named_trigger(tmp_path: Path) -> None:
    """Where most captions have a made-up word, the one without it is named."""
    inspection = inspect_files(tmp_path, caption_all("TKXW, a cup", {"3.txt": "a cup"}))
    detail = "without TKXW, which most captions have"
    assert list_found(inspection, Finding.CAPTIONS_INCONSISTENT) == [("3.png", detail, "")]


@pytest.mark.parametrize(
    ("architecture", "trigger", "words", "found"),
    [
        (None, "", 75, []),
        (None, "", 76, ["76 tokens, of which 75 are read"]),
        (Architecture.STABLE_DIFFUSION_1, "TKXW", 75, ["79 tokens, of which 75 are read"]),
        (Architecture.FLUX_1, "", 76, []),
        (Architecture.FLUX_1, "", 600, ["600 tokens, of which 511 are read"]),
    ],
)
def test_long_caption_is_counted_by_its_reader(
    tmp_path: Path, architecture: Architecture | None, trigger: str, words: int, found: list[str]
) -> None:
    """Tokens are counted as the family's encoder counts them, with the trigger that training puts before."""
    files = {"a.png": draw_png(), "a.txt": "red " * words}
    inspection = inspect_files(tmp_path, files, architecture=architecture, trigger=trigger)
    assert [detail for _, detail, _ in list_found(inspection, Finding.CAPTION_TOO_LONG)] == found


def test_equal_pictures_name_each_other(tmp_path: Path) -> None:
    """The same bytes twice are a duplicate, told with the first of the two, and no near-duplicate besides."""
    inspection = inspect_files(
        tmp_path, {"a.jpg": draw_jpeg(), "b/a.png": PICTURES["1.png"], "c.png": PICTURES["1.png"]}
    )
    assert list_found(inspection, Finding.DUPLICATE_PICTURE) == [("c.png", "the same as", "b/a.png")]
    assert list_found(inspection, Finding.NEAR_DUPLICATE_PICTURE) == []


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    """A.png and a.png are one file on many disks."""
    inspection = inspect_files(tmp_path, {"A.png": PICTURES["1.png"], "a.png": PICTURES["9.png"]})
    assert list_found(inspection, Finding.NAME_CASE_CLASH) == [("a.png", "clashes with", "A.png")]


def test_pictures_that_share_a_sidecar(tmp_path: Path) -> None:
    """a.png and a.jpg have one a.txt between them."""
    inspection = inspect_files(tmp_path, {"a.jpg": draw_jpeg(), "a.png": PICTURES["9.png"], "a.txt": "a cup"})
    assert list_found(inspection, Finding.CAPTION_SHARED) == [("a.png", "shared with", "a.jpg")]


@pytest.mark.parametrize(
    ("width_px", "height_px", "is_named"), [(300, 100, True), (100, 300, True), (210, 100, False), (200, 100, False)]
)
def test_long_picture_is_named(tmp_path: Path, width_px: int, height_px: int, is_named: bool) -> None:
    """A picture that is cropped to two to one is named with its size, unless hardly anything of it is lost."""
    inspection = inspect_files(tmp_path, {"a.png": draw_png(width_px, height_px)})
    found = list_found(inspection, Finding.PICTURE_CROPPED)
    assert found == ([("a.png", f"{width_px} x {height_px} px", "")] if is_named else [])


def test_oversized_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture far larger than any training sees is used, and named with its size."""
    monkeypatch.setattr(inspection_module, "OVERSIZED_PIXELS", 80 * 64 - 1)
    inspection = inspect_files(tmp_path, {"a.png": draw_png(80, 64)})
    assert list_found(inspection, Finding.PICTURE_OVERSIZED) == [("a.png", "80 x 64 px", "")]
    assert len(inspection.items) == 1


def test_turned_picture_is_named(tmp_path: Path) -> None:
    """A picture that its EXIF orientation turns is told of, one that is upright already is not."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (90, 70), "teal").save(data, "JPEG", exif=exif)
    inspection = inspect_files(tmp_path, {**PICTURES, "phone.jpg": data.getvalue()})
    assert list_found(inspection, Finding.PICTURE_TURNED) == [("phone.jpg", "", "")]


def test_progress_is_told(tmp_path: Path) -> None:
    """After each picture it is told how many were looked at, of how many."""
    told: list[tuple[int, int]] = []
    (tmp_path / "dataset").mkdir()
    for name, data in list(PICTURES.items())[:3]:
        (tmp_path / "dataset" / name).write_bytes(data)
    dataset = DatasetFolder(Folder(VolumeStore(tmp_path / "dataset"), ""), "Upload")
    checks = Checks(on_progress=lambda done, total: told.append((done, total)))
    inspect_dataset(dataset, tmp_path / "scratch", checks=checks)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_report_holds_no_caption(tmp_path: Path) -> None:
    """Captions stay where they are: the report tells of them without a word of theirs."""
    inspection = inspect_files(tmp_path, caption_all("sekretwort on a table", {"3.txt": "sekretwort " * 90}))
    report = build_report("cups", inspection, build_plans(inspection.items))
    assert b"sekretwort" not in report.to_bytes()


def test_report_is_a_function_of_the_files(tmp_path: Path) -> None:
    """Inspecting the same files twice gives the same bytes."""
    reports = []
    for _ in range(2):
        inspection = inspect_files(tmp_path, caption_all("a cup"))
        reports.append(build_report("cups", inspection, build_plans(inspection.items)).to_bytes())
    assert reports[0] == reports[1]


@pytest.mark.parametrize("architecture", [None, *Architecture])
def test_plans_of_each_family(tmp_path: Path, architecture: Architecture | None) -> None:
    """A plan counts every usable picture once in its buckets, and passes follow from steps, batch and repeats."""
    files = {f"3_cup/{name}": data for name, data in PICTURES.items()}
    items = inspect_files(tmp_path, dict(files)).items
    plans = build_plans(items, architecture=architecture, steps=90)
    assert {plan.architecture for plan in plans} == (set(Architecture) if architecture is None else {architecture})
    for plan in plans:
        assert sum(bucket.pictures for bucket in plan.buckets) == 12
        assert plan.passes == pytest.approx(90 * plan.batch_size / 36, abs=0.05)


def test_no_pictures_no_plans() -> None:
    """Without a usable picture nothing is reckoned."""
    assert build_plans([]) == []
