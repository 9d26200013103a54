"""What an inspection says of good and bad datasets, and what it writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.manifests import DatasetRevision
from atelier_contract.names import TERMINATION_LIMIT_BYTES
from atelier_contract.reasons import Finding, Reason
from atelier_contract.report import DatasetReport
from atelier_contract.roles import Role
from atelier_contract.termination import InspectionResult
from atelier_materials.dataset.inspection import Checks, inspect_dataset
from atelier_materials.dataset.sources import DatasetFolder, Folder
from atelier_materials.store.documents import read_document
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.commands.ending import Ending
from picture_files import (
    EPS,
    build_bomb,
    build_webp_bomb,
    draw_gif,
    draw_jpeg,
    draw_png,
    draw_webp,
)
from trainer_pod import UPLOAD, Tenant, push_files

GOOD = draw_png()


def inspect_upload(tenant: Tenant, files: dict[str, bytes]) -> Ending:
    """Push files and inspect them."""
    push_files(tenant, files)
    return tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD))


def found(ending: Ending) -> dict[str, tuple[int, str]]:
    """Return count and example by finding."""
    assert ending.report.inspection is not None, ending.report.message
    return {f.reason: (f.count, f.example) for f in ending.report.inspection.findings}


def result(ending: Ending) -> InspectionResult:
    """Return what was found."""
    assert ending.report.inspection is not None, ending.report.message
    return ending.report.inspection


def read_revision(tenant: Tenant, ending: Ending) -> DatasetRevision:
    """Return the manifest that an inspection wrote."""
    return read_document(tenant.store, tenant.layout.revision("teapots", result(ending).revision), DatasetRevision)


@pytest.mark.parametrize(
    ("name", "data", "finding"),
    [
        ("cut.jpg", draw_jpeg()[:-400], Finding.UNREADABLE_PICTURE),
        ("empty.png", b"", Finding.UNREADABLE_PICTURE),
        ("bomb.png", build_bomb(), Finding.PICTURE_TOO_LARGE),
        ("bomb.webp", build_webp_bomb(), Finding.PICTURE_TOO_LARGE),
        ("vector.png", EPS, Finding.FORMAT_NOT_ALLOWED),
        ("vector.eps", EPS, Finding.FORMAT_NOT_ALLOWED),
        ("moving.gif", draw_gif(), Finding.FORMAT_NOT_ALLOWED),
        ("page.png", b"<html>not found</html>", Finding.FORMAT_NOT_ALLOWED),
        ("head.png", GOOD[:20], Finding.UNREADABLE_PICTURE),
    ],
)
def test_bad_picture_is_left_out(volume_tenant: Tenant, name: str, data: bytes, finding: Finding) -> None:
    """A file that is no good picture is named with what it is, and the rest is usable."""
    ending = inspect_upload(volume_tenant, {name: data, "good.png": GOOD, "good.txt": b"a teapot"})
    assert ending.exit_code == ExitCode.DONE
    assert (found(ending)[finding], result(ending).items) == ((1, name), 1)


def test_postscript_reaches_no_interpreter(volume_tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS renamed .png starts no process."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    inspect_upload(volume_tenant, {"a.png": EPS, "b.png": GOOD})


def test_every_finding_says_what_to_do(volume_tenant: Tenant) -> None:
    """Each finding has an example and a fix."""
    ending = inspect_upload(volume_tenant, {"a.png": EPS, "b.png": GOOD, "c.txt": b"x"})
    assert all(finding.example and finding.fix for finding in result(ending).findings)


def test_no_usable_picture(volume_tenant: Tenant) -> None:
    """With no usable picture the dataset is not usable, and the sentence names one file and its fault."""
    ending = inspect_upload(volume_tenant, {"cut.jpg": draw_jpeg()[:-400]})
    assert (ending.exit_code, ending.report.reason) == (ExitCode.DATASET_UNUSABLE, Reason.DATASET_UNUSABLE)
    assert ending.report.message == "none of the 1 pictures can be used: 1 UnreadablePicture (such as cut.jpg)"


def test_no_pictures_at_all(volume_tenant: Tenant) -> None:
    """Files without a picture among them are refused with the formats that are taken."""
    ending = inspect_upload(volume_tenant, {"notes.txt": b"hello"})
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE
    assert "no pictures: add PNG, JPEG or WebP" in ending.report.message


def test_nothing_pushed(tenant: Tenant) -> None:
    """A dataset to which nothing was pushed says which command to run."""
    ending = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD))
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE
    assert "kubectl atelier dataset push" in ending.report.message


def test_unfinished_push_is_invisible(volume_tenant: Tenant) -> None:
    """Contents without a push document are not seen."""
    push_files(volume_tenant, {"a.png": GOOD})
    volume_tenant.store.write(volume_tenant.layout.blob("teapots", "f" * 64), b"half a push")
    ending = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    assert result(ending).items == 1


def test_later_push_replaces_a_path(volume_tenant: Tenant) -> None:
    """Pushes add up; of the same path the later one counts."""
    push_files(volume_tenant, {"a.png": GOOD, "a.txt": b"old"}, pushed_at="2026-11-23T00:00:00Z")
    push_files(volume_tenant, {"a.txt": b"new", "b.png": draw_png(90)}, pushed_at="2026-11-23T01:00:00Z")
    ending = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    revision = read_revision(volume_tenant, ending)
    assert [(item.path, item.caption) for item in revision.items] == [("a.png", "new"), ("b.png", None)]


def test_replacing_push_begins_anew(volume_tenant: Tenant) -> None:
    """After a push that replaces, files of earlier ones are gone."""
    push_files(volume_tenant, {"a.png": GOOD}, pushed_at="2026-11-23T00:00:00Z")
    push_files(volume_tenant, {"b.png": draw_png(90)}, pushed_at="2026-11-23T01:00:00Z", replaces=True)
    ending = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    revision = read_revision(volume_tenant, ending)
    assert [item.path for item in revision.items] == ["b.png"]


@pytest.mark.parametrize(
    ("files", "caption"),
    [
        ({"a.txt": b" a red\nteapot \n"}, "a red teapot"),
        ({"a.caption": b"a teapot"}, "a teapot"),
        ({"a.caption": b"second", "a.txt": b"first"}, "first"),
        ({"a.txt": "\ufeffa grün teapot".encode()}, "a grün teapot"),
        ({"metadata.jsonl": b'{"file_name": "a.png", "text": "from jsonl"}\n'}, "from jsonl"),
        ({"metadata.csv": b"file_name,text\na.png,from csv\n"}, "from csv"),
        ({"metadata.csv": b"file_name,text\na.png,table\n", "a.txt": b"beside"}, "beside"),
        ({"metadata.csv": b"file_name,text\na.png,table\n", "a.txt": b" \n"}, "table"),
        ({"metadata.jsonl": b'{"file_name": "other.png", "text": "not mine"}'}, None),
        ({"a.txt": b"\xff\xfe\xff"}, None),
        ({}, None),
    ],
)
def test_captions(volume_tenant: Tenant, files: dict[str, bytes], caption: str | None) -> None:
    """Captions come from a file beside the picture, else from a table."""
    ending = inspect_upload(volume_tenant, {"a.png": GOOD, **files})
    revision = read_revision(volume_tenant, ending)
    assert revision.items[0].caption == caption


@pytest.mark.parametrize(
    ("files", "finding", "example"),
    [
        ({}, Finding.CAPTION_MISSING, "a.png"),
        ({"b.txt": b"x"}, Finding.CAPTION_WITHOUT_PICTURE, "b.txt"),
        ({"metadata.csv": b"file_name,text\nb.png,x\n"}, Finding.CAPTION_WITHOUT_PICTURE, "b.png"),
        ({"a.txt": b"\xff\xfe\xff"}, Finding.CAPTION_UNREADABLE, "a.txt"),
        ({"metadata.jsonl": b"{not json"}, Finding.CAPTION_UNREADABLE, "metadata.jsonl"),
        ({"metadata.jsonl": b"[1, 2]"}, Finding.CAPTION_UNREADABLE, "metadata.jsonl"),
        ({"metadata.csv": b"file_name;text\na.png;x\n"}, Finding.CAPTION_UNREADABLE, "metadata.csv"),
        ({"a.txt": b"word " * 76}, Finding.CAPTION_TOO_LONG, "a.png"),
        ({"sub/copy.png": GOOD}, Finding.DUPLICATE_PICTURE, "sub/copy.png"),
        ({"tiny.png": draw_png(63, 200)}, Finding.PICTURE_TOO_SMALL, "tiny.png"),
        ({"moving.webp": draw_webp(3)}, Finding.ANIMATED_PICTURE, "moving.webp"),
        ({}, Finding.FEW_PICTURES, "1 pictures"),
    ],
)
def test_findings(volume_tenant: Tenant, files: dict[str, bytes], finding: Finding, example: str) -> None:
    """Each fault is found and named by an example."""
    ending = inspect_upload(volume_tenant, {"a.png": GOOD, **files})
    assert found(ending)[finding][1] == example


def test_orientation(volume_tenant: Tenant) -> None:
    """Width and height are those after EXIF orientation."""
    ending = inspect_upload(volume_tenant, {"a.jpg": draw_jpeg(80, 64, orientation=6)})
    revision = read_revision(volume_tenant, ending)
    assert (revision.items[0].width, revision.items[0].height) == (64, 80)


def test_looking_twice_finds_the_same(tenant: Tenant) -> None:
    """The same contents have the same revision, and the second look writes nothing."""
    first = inspect_upload(tenant, {"a.png": GOOD, "a.txt": b"a teapot"})
    before = tenant.listing()
    second = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD))
    assert (result(second).revision, tenant.listing()) == (result(first).revision, before)


def test_another_caption_is_another_revision(volume_tenant: Tenant) -> None:
    """A changed caption changes the revision."""
    first = inspect_upload(volume_tenant, {"a.png": GOOD, "a.txt": b"one"})
    push_files(volume_tenant, {"a.txt": b"two"}, pushed_at="2026-11-23T02:00:00Z")
    second = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    assert result(first).revision != result(second).revision


def test_own_bucket_prefix(s3_tenant: Tenant) -> None:
    """Pictures at a prefix of the storage's own bucket are found by their paths."""
    s3_tenant.store.write("photos/tea pots/a.png", GOOD)
    s3_tenant.store.write("photos/tea pots/sub/b.png", draw_png(90))
    s3_tenant.store.write("photos/tea pots-old/c.png", GOOD)
    uri = f"s3://{s3_tenant.secret[names.KEY_BUCKET]}/photos/tea pots"
    ending = s3_tenant.pod().run(Role.INSPECT, s3_tenant.inspect_input({"s3": {"uri": uri}}))
    revision = read_revision(s3_tenant, ending)
    assert [item.path for item in revision.items] == ["a.png", "sub/b.png"]


def test_missing_prefix(s3_tenant: Tenant) -> None:
    """A prefix under which nothing lies is named with its bucket."""
    bucket = s3_tenant.secret[names.KEY_BUCKET]
    ending = s3_tenant.pod().run(Role.INSPECT, s3_tenant.inspect_input({"s3": {"uri": f"s3://{bucket}/nothing/here"}}))
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE
    assert ending.report.message.startswith(f"nothing lies at nothing/here in bucket {bucket} at ")


def test_foreign_bucket_without_its_secret(s3_tenant: Tenant) -> None:
    """A foreign bucket whose Secret is missing is named with that Secret, not the storage's."""
    source = {"s3": {"uri": "s3://photos/teapots", "secretRef": {"name": "photos-keys"}}}
    ending = s3_tenant.pod().run(Role.INSPECT, s3_tenant.inspect_input(source))
    assert ending.report.reason == Reason.STORAGE_NOT_CONFIGURED
    assert "Secret photos-keys is missing" in ending.report.message


def test_volume_source(volume_tenant: Tenant, tmp_path: Path) -> None:
    """Pictures in a folder of a claim are found; hidden files and what is no picture are passed over."""
    pod = volume_tenant.pod()
    photos = pod.place(names.DATASET_VOLUME_DIR) / "teapots"
    photos.mkdir(parents=True)
    for name, data in {"a.png": GOOD, ".hidden.png": GOOD, "notes.md": b"x"}.items():
        (photos / name).write_bytes(data)
    source = {"persistentVolumeClaim": {"claimName": "photos", "path": "teapots"}}
    ending = pod.run(Role.INSPECT, volume_tenant.inspect_input(source))
    assert (result(ending).items, Finding.DUPLICATE_PICTURE in found(ending)) == (1, False)


def test_last_words_fit(volume_tenant: Tenant) -> None:
    """With every finding at once and the longest paths, the last words fit and can be read."""
    long = "x" * 200
    files = {
        f"{long}-0.png": GOOD,
        f"{long}-1.png": GOOD,
        f"{long}-2.png": EPS,
        f"{long}-3.png": build_bomb(),
        f"{long}-4.jpg": draw_jpeg()[:-400],
        f"{long}-5.png": draw_png(20),
        f"{long}-6.webp": draw_webp(2),
        f"{long}-6.txt": b"word " * 99,
        f"{long}-7.txt": b"orphan",
        f"{long}-0.txt": b"\xff",
    }
    push_files(volume_tenant, files)
    pod = volume_tenant.pod()
    pod.run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    assert pod.place(names.TERMINATION_PATH).stat().st_size <= TERMINATION_LIMIT_BYTES
    assert pod.last_words.inspection is not None


def test_scratch_is_left_empty(volume_tenant: Tenant) -> None:
    """Pictures do not pile up in scratch space."""
    push_files(volume_tenant, {f"{i}.png": draw_png(64 + i) for i in range(9)})
    pod = volume_tenant.pod()
    pod.run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD))
    assert [path for path in pod.place(names.SCRATCH_DIR).rglob("*") if path.is_file()] == []


def test_report_lies_in_the_store(volume_tenant: Tenant) -> None:
    """The status names the report, which says file by file what the last words count."""
    ending = inspect_upload(volume_tenant, {"a.png": GOOD, "cut.jpg": draw_jpeg()[:-400]})
    report = read_document(volume_tenant.store, result(ending).report_key, DatasetReport)
    assert (report.findings, report.revision) == (result(ending).findings, result(ending).revision)
    assert ("UnreadablePicture", "cut.jpg") in [(file.reason, file.path) for file in report.files]


def test_page_lies_beside_the_report(volume_tenant: Tenant) -> None:
    """The page has the report's key, but for its suffix."""
    ending = inspect_upload(volume_tenant, {"a.png": GOOD})
    page = volume_tenant.store.read(result(ending).report_key.removesuffix(".json") + ".html")
    assert page.startswith(b"<!doctype html>")


def test_laptop_and_pod_find_the_same(volume_tenant: Tenant, tmp_path: Path) -> None:
    """A folder that is checked where it lies has the revision and the findings that the pod finds after a push."""
    files = {"a.png": GOOD, "a.txt": b"a teapot", "b/c.jpg": draw_jpeg(), "b/cut.jpg": draw_jpeg()[:-400]}
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    ending = inspect_upload(volume_tenant, files)
    folder = DatasetFolder(Folder(VolumeStore(tmp_path / "folder"), ""), "Upload")
    inspection = inspect_dataset(folder, tmp_path / "scratch", checks=Checks())
    assert (inspection.digest, inspection.findings.as_statuses()) == (result(ending).revision, result(ending).findings)
