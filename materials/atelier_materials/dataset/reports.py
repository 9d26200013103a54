"""An inspection as a report: the document that the contract describes.

In: an inspection. Out: its DatasetReport. No caption goes into it, so that it can be shown to whoever may see the
pictures' names.
"""

from __future__ import annotations

from atelier_contract.report import DatasetReport, FileFinding, TrainingPlan
from atelier_materials.dataset.findings import FileFound
from atelier_materials.dataset.inspection import Inspection


def build_report(name: str, inspection: Inspection, plans: list[TrainingPlan], *, trigger: str = "") -> DatasetReport:
    """Return the report of an inspection.

    Args:
        name: what the dataset is called.
        inspection: what was found.
        plans: what a training would be.
        trigger: what captions were held against; empty: nothing was named.
    """
    items = inspection.items
    return DatasetReport(
        dataset=name,
        source=inspection.kind,
        revision=inspection.digest if items else "",
        layout=inspection.listing.sentence,
        pictures=len(inspection.listing.pictures),
        items=len(items),
        captioned=sum(item.caption is not None for item in items),
        pictures_per_pass=sum(item.repeats for item in items),
        bytes=sum(item.bytes for item in items),
        resolution=inspection.measure_sides() if items else None,
        trigger=trigger,
        findings=inspection.findings.as_statuses(),
        files=[_tell_file(file) for file in inspection.findings.list_files()],
        plans=plans,
    )


def _tell_file(file: FileFound) -> FileFinding:
    return FileFinding(
        reason=file.finding,
        severity=file.severity,
        path=file.path,
        detail=file.detail,
        other=file.other,
        fix=file.fix,
    )
