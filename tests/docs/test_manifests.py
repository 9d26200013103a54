"""What the pages tell people to apply, held against the contract's own models and against a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract.dataset import DatasetSpec
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_playground.cluster import Cluster
from atelier_playground.documents import read_documents
from pages import list_blocks

SPECS = {"Dataset": DatasetSpec, "TrainingJob": TrainingJobSpec, "TrainingTemplate": TrainingTemplateSpec}
MANIFESTS: dict[str, dict[str, Any]] = {
    f"{block.name}:{manifest['kind']}/{manifest['metadata']['name']}": manifest
    for block in list_blocks("yaml")
    for manifest in read_documents(block.text)
}
"""Every manifest on a page, by page, line and name: there is no YAML on the pages that is not one."""


def test_pages_show_manifests() -> None:
    """The pages have some, so that the next tests look at something."""
    assert {"README.md", "docs/training.md", "docs/quickstart.md"} <= {name.partition(":")[0] for name in MANIFESTS}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_of_the_pages_is_accepted(name: str) -> None:
    """A manifest on a page is one that the contract takes, and reads field by field as it stands there."""
    manifest = MANIFESTS[name]
    read = SPECS[manifest["kind"]].model_validate(manifest["spec"])
    assert read.model_dump(mode="json", by_alias=True, exclude_none=True) == manifest["spec"]


@pytest.mark.cluster
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_of_the_pages_is_taken_by_the_server(installed: Cluster, name: str) -> None:
    """A real API server takes each manifest of the pages as it stands there, unknown fields refused."""
    api = installed.api
    manifest = MANIFESTS[name]
    path = api.path(manifest["apiVersion"], manifest["kind"], "default")
    answer: dict[str, Any] = api.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", manifest)
    assert answer["spec"] == manifest["spec"]
