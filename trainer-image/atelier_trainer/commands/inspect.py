"""`inspect`: look at a dataset and write down its revision.

In: an InspectInput. Out: an immutable revision manifest in the store, a report and its page beside it, and digest,
counts and findings as last words. The looking itself is `atelier_materials.dataset.inspection`, which a laptop shares;
here are store and ending.
"""

from __future__ import annotations

from atelier_contract.base import digest_of
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import InspectInput
from atelier_contract.reasons import Finding, Reason
from atelier_contract.roles import Role
from atelier_contract.termination import InspectionResult, TerminationReport
from atelier_materials.dataset.inspection import Checks, Inspection, inspect_dataset
from atelier_materials.dataset.plans import build_plans
from atelier_materials.dataset.report_page import build_page
from atelier_materials.dataset.reports import build_report
from atelier_materials.store.documents import write_document
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.ending import Ending, end_well, shorten
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.edges.sources import open_dataset
from atelier_trainer.settings import TrainerSettings


def inspect(settings: TrainerSettings, asked: InspectInput, patience: Patience) -> Ending:
    """Look at a dataset and write its revision.

    Raises:
        DatasetUnusable: there is no source.
        AtelierError: the store cannot be used.
    """
    home = open_home(settings, asked.store, patience)
    dataset = open_dataset(settings, home, asked.dataset, patience)
    checks = Checks(layout=asked.dataset.layout)
    inspection = inspect_dataset(dataset, settings.scratch_dir / "inspect", checks=checks)
    if not inspection.items:
        return _end_unusable(asked, inspection)
    return _end_with_revision(home, asked, inspection)


def _end_unusable(asked: InspectInput, inspection: Inspection) -> Ending:
    findings = inspection.findings
    if not inspection.listing.pictures and findings.count("Error"):
        message = f"Dataset {asked.dataset.name} has no picture that can be used: {findings.as_sentence()}"
    elif not inspection.listing.pictures:
        findings.add(Finding.NO_PICTURES, asked.dataset.name)
        message = (
            f"Dataset {asked.dataset.name} has files but no pictures: add PNG, JPEG or WebP files to its source "
            "(spec.source)"
        )
    else:
        pictures = len(inspection.listing.pictures)
        message = f"none of the {pictures} pictures can be used: {findings.as_sentence()}"
    report = TerminationReport(
        role=Role.INSPECT,
        reason=Reason.DATASET_UNUSABLE,
        message=shorten(message),
        inspection=InspectionResult(
            revision="", items=0, captioned=0, bytes=0, findings=findings.as_statuses(), report_key=""
        ),
    )
    return Ending(ExitCode.DATASET_UNUSABLE, report)


def _end_with_revision(home: Home, asked: InspectInput, inspection: Inspection) -> Ending:
    name, items = asked.dataset.name, inspection.items
    revision = inspection.build_revision(name)
    key = home.layout.revision(name, inspection.digest)
    if home.store.head(key) is None:  # the same contents, told by an earlier release perhaps: what is there stays
        write_document(home.store, key, revision)
    result = InspectionResult(
        revision=inspection.digest,
        items=len(items),
        captioned=sum(item.caption is not None for item in items),
        pictures_per_pass=sum(item.repeats for item in items),
        bytes=sum(item.bytes for item in items),
        resolution=inspection.measure_sides(),
        findings=revision.findings,
        report_key=_write_report(home, name, inspection),
    )
    return end_well(TerminationReport(role=Role.INSPECT, reason=Reason.COMPLETED, inspection=result))


def _write_report(home: Home, name: str, inspection: Inspection) -> str:
    """Write the report and its page, unless the same inspection did before; return the report's key."""
    report = build_report(name, inspection, build_plans(inspection.items))
    digest = digest_of(report.as_json())
    key, page_key = (home.layout.report(name, digest, suffix) for suffix in (".json", ".html"))
    if home.store.head(page_key) is None:  # another release may draw the same report otherwise: what is there stays
        page = build_page(report, inspection.thumbnails, [item.path for item in inspection.items])
        home.store.write(page_key, page.encode())
    write_document(home.store, key, report)
    return key
