"""What the pages tell people to apply, held against the contract's own models."""

from __future__ import annotations

import re

import pytest

from atelier_contract.dataset import DatasetSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_playground.documents import read_documents
from checkout import CHECKOUT

PAGES = (CHECKOUT / "README.md", CHECKOUT / "docs" / "training.md")
SPECS = {"Dataset": DatasetSpec, "TrainingJob": TrainingJobSpec}
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def list_manifests() -> list[tuple[str, dict[str, object]]]:
    """Return every manifest on the pages, by page and name."""
    return [
        (f"{page.name}:{manifest['kind']}/{manifest['metadata']['name']}", manifest)
        for page in PAGES
        for block in BLOCK.findall(page.read_text(encoding="utf-8"))
        for manifest in read_documents(block)
    ]


MANIFESTS = list_manifests()


def test_pages_show_manifests() -> None:
    """Each page has some, so that the next test looks at something."""
    assert {name.partition(":")[0] for name, _ in MANIFESTS} == {page.name for page in PAGES}


@pytest.mark.parametrize("manifest", [m for _, m in MANIFESTS], ids=[name for name, _ in MANIFESTS])
def test_a_manifest_of_the_pages_is_accepted(manifest: dict[str, object]) -> None:
    """A manifest on a page is one that the contract takes, and reads field by field as it stands there."""
    read = SPECS[str(manifest["kind"])].model_validate(manifest["spec"])
    assert read.model_dump(mode="json", by_alias=True, exclude_none=True) == manifest["spec"]
