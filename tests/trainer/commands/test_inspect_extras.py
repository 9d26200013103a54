"""Masks, further captions and kohya's folders, as an inspection finds them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atelier_contract.base import digest_of
from atelier_contract.dataset import DatasetLayout
from atelier_contract.exit_codes import ExitCode
from atelier_contract.manifests import DatasetItem, DatasetRevision
from atelier_contract.reasons import Finding
from atelier_contract.roles import Role
from atelier_materials.dataset.captions import read_folder_name
from atelier_materials.store.documents import read_document
from atelier_materials.store.protocol import hash_bytes
from picture_files import draw_jpeg, draw_png
from trainer_pod import UPLOAD, Tenant, push_files

PICTURE, MASK = draw_png(), draw_png(colour=(255, 255, 255))


def inspect_items(tenant: Tenant, files: dict[str, bytes]) -> tuple[list[DatasetItem], dict[str, str]]:
    """Push and inspect files; return the revision's pictures and the findings with their examples."""
    push_files(tenant, files)
    inspection = tenant.pod().run(Role.INSPECT, tenant.inspect_input(UPLOAD)).report.inspection
    assert inspection is not None
    key = tenant.layout.revision("teapots", inspection.revision)
    items = read_document(tenant.store, key, DatasetRevision).items
    return items, {finding.reason: finding.example for finding in inspection.findings}


def test_mask_belongs_to_its_picture(volume_tenant: Tenant) -> None:
    """NAME.mask.png is no picture: it is noted with its digest beside NAME.png."""
    items, _ = inspect_items(volume_tenant, {"a/b.png": PICTURE, "a/b.mask.png": MASK})
    assert [(item.path, item.mask_path, item.mask_sha256) for item in items] == [
        ("a/b.png", "a/b.mask.png", hash_bytes(MASK).sha256)
    ]


@pytest.mark.parametrize("name", ["a.mask.jpg", "a.MASK.webp"])
def test_mask_of_any_suffix_is_no_picture(volume_tenant: Tenant, name: str) -> None:
    """A mask that another tool saved as something else is a mask too, not a picture to learn."""
    items, _ = inspect_items(volume_tenant, {"a.png": PICTURE, name: MASK})
    assert [(item.path, item.mask_path) for item in items] == [("a.png", name)]


def test_mask_of_a_turned_picture(volume_tenant: Tenant) -> None:
    """A mask is as large as its picture after the picture was turned upright."""
    files = {"a.jpg": draw_jpeg(80, 64, orientation=6), "a.mask.png": draw_png(64, 80)}
    items, _ = inspect_items(volume_tenant, files)
    assert items[0].mask_path == "a.mask.png"


@pytest.mark.parametrize("mask", [draw_png(64, 80), b"no picture"])
def test_mask_that_does_not_fit(volume_tenant: Tenant, mask: bytes) -> None:
    """A mask of another size, or no picture at all, is named and not used; its picture is."""
    items, findings = inspect_items(volume_tenant, {"a.png": PICTURE, "a.mask.png": mask})
    assert [item.mask_path for item in items] == [None]
    assert findings[Finding.MASK_UNUSABLE] == "a.mask.png"


def test_mask_without_a_picture(volume_tenant: Tenant) -> None:
    """A mask beside no picture is named."""
    _, findings = inspect_items(volume_tenant, {"a.png": PICTURE, "c.mask.png": MASK})
    assert findings[Finding.MASK_WITHOUT_PICTURE] == "c.mask.png"


def test_kohya_folder_repeats(volume_tenant: Tenant) -> None:
    """In a folder NN_words a picture is shown NN times and is called by the words."""
    items, findings = inspect_items(volume_tenant, {"10_tkxw teapot/a.png": PICTURE})
    assert [(item.repeats, item.caption) for item in items] == [(10, "tkxw teapot")]
    assert Finding.FOLDER_REPEATS in findings


def test_caption_file_is_preferred_to_the_folder(volume_tenant: Tenant) -> None:
    """The words of a kohya folder are for pictures without a caption of their own."""
    items, _ = inspect_items(volume_tenant, {"3_teapot/a.png": PICTURE, "3_teapot/a.txt": b"a red teapot"})
    assert [(item.repeats, item.caption) for item in items] == [(3, "a red teapot")]


@pytest.mark.parametrize("folder", ["teapots", "2026_summer", "0_off", "_x", "a/10_b/c"])
def test_other_folders_repeat_nothing(folder: str) -> None:
    """Years, words and folders further up say nothing of repeats."""
    assert read_folder_name(f"{folder}/a.png") == (1, "")


def test_numbered_sidecars_are_further_captions(volume_tenant: Tenant) -> None:
    """NAME.2.txt and NAME.10.txt are further captions of NAME.png, in the order of their numbers."""
    files = {"a.png": PICTURE, "a.txt": b"one", "a.10.txt": b"ten", "a.2.txt": b"two"}
    items, findings = inspect_items(volume_tenant, files)
    assert (items[0].caption, items[0].other_captions) == ("one", ["two", "ten"])
    assert Finding.CAPTION_WITHOUT_PICTURE not in findings


def test_numbered_sidecar_of_a_numbered_picture(volume_tenant: Tenant) -> None:
    """Where NAME.2.png exists, NAME.2.txt is its own caption."""
    files = {"a.png": PICTURE, "a.txt": b"one", "a.2.png": draw_png(90), "a.2.txt": b"two"}
    items, _ = inspect_items(volume_tenant, files)
    assert {item.path: (item.caption, item.other_captions) for item in items} == {
        "a.png": ("one", []),
        "a.2.png": ("two", []),
    }


def test_list_of_captions_in_a_table(volume_tenant: Tenant) -> None:
    """A list in metadata.jsonl is several captions of one picture."""
    table = json.dumps({"file_name": "a.png", "text": ["one", "two"]}).encode()
    items, _ = inspect_items(volume_tenant, {"a.png": PICTURE, "metadata.jsonl": table})
    assert (items[0].caption, items[0].other_captions) == ("one", ["two"])


def inspect_as(tenant: Tenant, files: dict[str, bytes], layout: str) -> tuple[int, str, list[DatasetItem]]:
    """Push and inspect files as a layout; return exit code, sentence and pictures."""
    push_files(tenant, files)
    plain = tenant.inspect_input(UPLOAD)
    asked = plain.model_copy(update={"dataset": plain.dataset.model_copy(update={"layout": DatasetLayout(layout)})})
    ended = tenant.pod().run(Role.INSPECT, asked)
    report = ended.report
    if report.inspection is None or not report.inspection.revision:
        return ended.exit_code, report.message, []
    key = tenant.layout.revision("teapots", report.inspection.revision)
    return ended.exit_code, report.message, read_document(tenant.store, key, DatasetRevision).items


def test_layout_that_the_dataset_names_is_read(volume_tenant: Tenant) -> None:
    """Named a plain folder, a dataset has neither captions nor repeats, whatever lies there."""
    _, _, items = inspect_as(volume_tenant, {"10_cup/a.png": PICTURE, "10_cup/a.txt": b"a cup"}, "Plain")
    assert [(item.repeats, item.caption) for item in items] == [(1, None)]


def test_layout_of_which_nothing_is_there_is_refused(volume_tenant: Tenant) -> None:
    """A layout that the files do not have ends the inspection with what is missing."""
    code, message, _ = inspect_as(volume_tenant, {"a.png": PICTURE}, "Kohya")
    assert (code, "no folder with pictures is named NN_words" in message) == (ExitCode.DATASET_UNUSABLE, True)


def test_toml_that_names_no_folder_here_is_told(volume_tenant: Tenant) -> None:
    """Where the configuration leaves no picture, the sentence names it and not a lack of pictures."""
    toml = b'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/mnt/photos"\n'
    code, message, _ = inspect_as(volume_tenant, {"set.toml": toml, "a.png": PICTURE}, "KohyaToml")
    assert (code, "LayoutConfigUnusable (such as set.toml)" in message) == (ExitCode.DATASET_UNUSABLE, True)


OLD_ITEM: dict[str, Any] = {"path": "a.png", "bytes": 9, "sha256": "0" * 64, "width": 80, "height": 64, "caption": "a"}


def test_plain_item_is_written_as_by_earlier_releases() -> None:
    """A picture without anything new has the JSON, and so its dataset the digest, that it always had."""
    written = DatasetItem.model_validate(OLD_ITEM).as_json()
    assert (written, digest_of(["Upload", [written]])) == (
        OLD_ITEM,
        "797f49db8f5be691ab5fea096199a2ca3dc4dfd8ae4fa86cf66044aa7fae7a69",
    )


@pytest.mark.parametrize("change", [{"repeats": 2}, {"otherCaptions": ["b"]}, {"maskSha256": "1" * 64}])
def test_what_is_new_is_another_revision(change: dict[str, Any]) -> None:
    """Repeats, further captions and masks are part of a dataset's contents."""
    item = DatasetItem.model_validate(OLD_ITEM | change)
    assert item.as_json() != OLD_ITEM
    assert DatasetItem.model_validate(item.as_json()) == item
