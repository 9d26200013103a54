"""Mistakes in a dataset: each found by the inspection, or by preflight where only the run shows it."""

from __future__ import annotations

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Finding
from atelier_contract.roles import Role
from learning import BASE_MODEL, build_settings
from mistakes import assert_one_sentence
from picture_files import draw_png
from trainer_pod import UPLOAD, Tenant, push_files

PICTURE = draw_png(64)
FOUND: dict[str, tuple[dict[str, bytes], Finding, str, str]] = {
    "extension-without-a-dot": (
        {"cat.png": PICTURE, "cattxt": b"a cat"},
        Finding.CAPTION_MISNAMED,
        "cattxt",
        "without a dot",
    ),
    "extension-behind-the-pictures-own": (
        {"cat.jpg": PICTURE, "cat.jpgtxt": b"a cat"},
        Finding.CAPTION_MISNAMED,
        "cat.jpgtxt",
        "Call it NAME.txt",
    ),
    "caption-of-another-name": (
        {"cat.png": PICTURE, "dog.txt": b"a cat"},
        Finding.CAPTION_WITHOUT_PICTURE,
        "dog.txt",
        "rename one of the two",
    ),
    "captions-missing": ({"cat.png": PICTURE}, Finding.CAPTION_MISSING, "cat.png", "add NAME.txt beside it"),
    "mask-without-a-picture": (
        {"cat.png": PICTURE, "dog.mask.png": PICTURE},
        Finding.MASK_WITHOUT_PICTURE,
        "dog.mask.png",
        "NAME.mask.png belongs to NAME.png",
    ),
    "mask-of-another-size": (
        {"cat.png": PICTURE, "cat.mask.png": draw_png(80)},
        Finding.MASK_UNUSABLE,
        "cat.mask.png",
        "picture's width and height",
    ),
    "picture-that-is-none": (
        {"cat.png": PICTURE, "note.png": b"not a picture"},
        Finding.FORMAT_NOT_ALLOWED,
        "note.png",
        "Convert it",
    ),
    "the-same-picture-twice": (
        {"cat.png": PICTURE, "copy.png": PICTURE},
        Finding.DUPLICATE_PICTURE,
        "copy.png",
        "Remove one",
    ),
}


@pytest.mark.parametrize("mistake", FOUND)
def test_found(volume_tenant: Tenant, mistake: str) -> None:
    """The inspection names the mistake, one file as an example, and what to do."""
    files, reason, example, fix = FOUND[mistake]
    push_files(volume_tenant, files, name="mistaken")
    ending = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD, "mistaken"))
    assert ending.report.inspection is not None
    found = {finding.reason: finding for finding in ending.report.inspection.findings}
    assert reason in found, list(found)
    assert (found[reason].example, fix in found[reason].fix) == (example, True)


def test_no_captions_end_the_run(volume_tenant: Tenant) -> None:
    """A concept model without captions is refused before a GPU is asked for, in one sentence with one file in it."""
    push_files(volume_tenant, {"cat.png": PICTURE, "cattxt": b"a cat"})
    volume_tenant.put_folder(BASE_MODEL, "base-models", "tiny")
    seen = volume_tenant.pod().run(Role.INSPECT, volume_tenant.inspect_input(UPLOAD)).report.inspection
    assert seen is not None
    asked = volume_tenant.training_input(seen.revision, UPLOAD, settings=build_settings())
    ending = volume_tenant.pod().run(Role.PREFLIGHT, asked)
    assert ending.exit_code == ExitCode.DATASET_UNUSABLE
    assert_one_sentence(ending.report.message, "1 of 1 pictures", "cat.png", "NAME.txt beside the picture")
