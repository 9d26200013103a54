"""Datasets as objects: what a push writes, when an inspection is over, and how what it found is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.dataset import DatasetLayout
from atelier_studio.actions import datasets
from atelier_studio.actions.tables import read_dataset_status
from atelier_studio.errors import BadRequest

ASKED = "2026-11-23T08:00:00.000000+00:00"
ROOM = "atelier/art/datasets/teapots"


def a_dataset(reconciling: str = "False", asked: str | None = None, **status: Any) -> dict[str, Any]:
    """Return a Dataset that was inspected."""
    conditions = [
        {
            "type": kind,
            "status": value,
            "reason": "Inspected",
            "message": "2 usable pictures",
            "lastTransitionTime": ASKED,
        }
        for kind, value in (("Ready", "True"), ("Reconciling", reconciling))
    ]
    annotations = {names.ANNOTATION_INSPECT_REQUESTED_AT: asked} if asked else {}
    return {
        "metadata": {"name": "teapots", "generation": 2, "annotations": annotations},
        "spec": {"source": {"upload": {}}},
        "status": {"observedGeneration": 2, "conditions": conditions, **status},
    }


def test_new_dataset() -> None:
    """A push creates a Dataset whose items are pushed, with what was told of it."""
    told = datasets.build_spec("Teapots", DatasetLayout.KOHYA)
    assert datasets.build_dataset("teapots", told)["spec"] == {
        "description": "Teapots",
        "layout": "Kohya",
        "source": {"upload": {}},
    }


def test_request_leaves_the_spec_alone() -> None:
    """Another look changes nothing that was not told."""
    patch = datasets.build_request(datasets.build_spec(None, None), datetime(2026, 11, 23, 8, tzinfo=UTC))
    assert patch == {"metadata": {"annotations": {names.ANNOTATION_INSPECT_REQUESTED_AT: ASKED}}}


def test_inspected() -> None:
    """An inspection is over when the operator has seen the spec and the request, and works no more."""
    assert datasets.is_inspected(a_dataset(asked=ASKED, lastHandledInspectAt=ASKED))


@pytest.mark.parametrize(
    "body",
    [
        a_dataset(reconciling="True"),
        a_dataset(asked=ASKED),
        a_dataset(asked=ASKED, lastHandledInspectAt="earlier"),
        a_dataset(observedGeneration=1),
        {"metadata": {"name": "teapots", "generation": 1}, "spec": {"source": {"upload": {}}}},
    ],
)
def test_not_yet_inspected(body: dict[str, Any]) -> None:
    """Until then it is not: at work, a request not seen, an older spec, or never looked at."""
    assert not datasets.is_inspected(body)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"s3": {"uri": "s3://studio/teapots"}}, "lie in s3://studio/teapots"),
        ({"persistentVolumeClaim": {"claimName": "photos"}}, "lie in claim photos"),
    ],
)
def test_nothing_is_pushed_elsewhere(source: dict[str, Any], says: str) -> None:
    """A Dataset whose pictures lie elsewhere takes no push, and says where they lie."""
    with pytest.raises(BadRequest, match=says):
        datasets.read_storage({**a_dataset(), "spec": {"source": source}})


def test_row() -> None:
    """A row tells counts, size, uses and findings."""
    finding = {"reason": "CaptionMissing", "severity": "Warning", "count": 3, "example": "a.png", "fix": "Add it."}
    body = a_dataset(items=12, captioned=9, bytes=3_400_000, usableFor=["Embedding"], findings=[finding])
    assert datasets.build_dataset_row(body) == ("teapots", "Inspected", "12", "9", "3.4 MB", "Embedding", "3")


def test_row_of_one_that_nobody_looked_at() -> None:
    """What is not known is a dash."""
    body = {"metadata": {"name": "new"}, "spec": {"source": {"upload": {}}}}
    assert datasets.build_dataset_row(body, wide=True)[2:] == (
        *("-", "-", "-", "-", "-", "pushes", "-"),
        "the operator has not looked at this yet",
    )


def test_findings_are_fit_to_print() -> None:
    """Names in findings come from strangers: what would turn or break a line is shown by its number."""
    finding = {"reason": "NameUnsafe", "severity": "Error", "count": 1, "example": "\u202egnp.exe", "fix": "Rename."}
    rows = datasets.build_finding_rows(read_dataset_status(a_dataset(findings=[finding])))
    assert rows == [("Error", "1", "NameUnsafe", r"\u202egnp.exe", "Rename.")]


def test_report_lies_in_the_datasets_room() -> None:
    """The report's page lies beside its document."""
    key = f"{ROOM}/reports/{'a' * 64}"
    assert datasets.find_report(a_dataset(reportKey=f"{key}.json"), ROOM, ".html") == f"{key}.html"


@pytest.mark.parametrize("key", [None, "", "atelier/other/secrets.json", f"{ROOM}/blobs/a.json"])
def test_report_elsewhere_is_not_read(key: str | None) -> None:
    """A key outside of the dataset's reports is not followed, whatever a status says."""
    with pytest.raises(BadRequest, match="has no report"):
        datasets.find_report(a_dataset(reportKey=key), ROOM, ".json")
