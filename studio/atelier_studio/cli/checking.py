"""`kubectl atelier dataset check`: what an inspection would find, on this machine, before anything is sent or paid for.

In: a folder or an archive. Out: what was recognised, every finding with its file and what to do, the shapes pictures
will be trained in, and what a training takes. The looking is the inspection Job's own; no cluster is asked.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier_contract.architectures import Architecture
from atelier_contract.dataset import DatasetLayout
from atelier_contract.report import DatasetReport
from atelier_studio.actions.documents import write_json, write_yaml
from atelier_studio.cli.folders import name_folder, open_folder
from atelier_studio.cli.options import OutputOption
from atelier_studio.cli.output import Output, say, say_aside, show_table
from atelier_studio.errors import BadRequest, Exit

if TYPE_CHECKING:
    from atelier_materials.dataset.findings import FileFound
    from atelier_materials.dataset.inspection import Inspection

MOST_FILES = 5
"""Of one kind, named in the usual table; `-o wide` names all."""
FINDING_COLUMNS = ("SEVERITY", "REASON", "FILE", "SEEN")
SHAPE_COLUMNS = ("RESOLUTION", "SHAPE", "PICTURES", "")
PLAN_COLUMNS = ("BASE", "MODEL", "STEPS", "BATCH", "PASSES", "GPU-MEMORY", "TIME", "STORAGE", "CACHE")
BAR_CELLS = 24
PAGE = "docs/how-to/prepare-pictures.md"


def check(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures and captions, or an archive of one.")],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="End with 4 where there are errors or warnings.")] = False,
    trigger: Annotated[
        str, typer.Option("--trigger", help="Caption prefix that the model will get, to hold captions against.")
    ] = "",
    architecture: Annotated[
        Architecture | None, typer.Option("--architecture", help="Family of the base model. Default: all of them.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps to reckon with. Default: 2000.")] = None,
    layout: Annotated[
        DatasetLayout | None, typer.Option("--layout", help="How captions are kept. Default: it is recognised.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a page for the browser here.")] = None,
    output: OutputOption = None,
) -> None:
    """Look at a folder as the inspection will: findings, shapes, steps, memory, time and room.

    Nothing is sent, and no cluster is needed.
    """
    from atelier_materials.dataset.plans import build_plans  # noqa: PLC0415  (Pillow and numpy: help needs neither)
    from atelier_materials.dataset.reports import build_report  # noqa: PLC0415  (as above)

    if report is not None and not report.absolute().parent.is_dir():
        raise BadRequest(f"{report.parent} is no folder: name a file in one that is there (--report)", PAGE)
    with open_folder(folder) as (root, left):
        inspection = _inspect(root, trigger, architecture, layout)
        for found in left:
            inspection.findings.add(found.finding, found.path, found.detail)
        plans = build_plans(inspection.items, architecture=architecture, steps=steps)
        told = build_report(name_folder(folder), inspection, plans, trigger=trigger)
    if report is not None:
        _write_page(report, told, inspection)
    _show(told, inspection.findings.list_files(), output)
    if strict and inspection.findings.count("Error", "Warning"):
        raise typer.Exit(Exit.FINDINGS)
    if not inspection.items:
        raise typer.Exit(Exit.FAILED)


def _inspect(root: Path, trigger: str, architecture: Architecture | None, layout: DatasetLayout | None) -> Inspection:
    from atelier_materials.dataset.consistency import CaptionRules  # noqa: PLC0415  (as in `check`)
    from atelier_materials.dataset.inspection import Checks, inspect_dataset  # noqa: PLC0415  (as above)
    from atelier_materials.dataset.sources import DatasetFolder, Folder  # noqa: PLC0415  (as above)
    from atelier_materials.store.volume_store import VolumeStore  # noqa: PLC0415  (as above)

    # An upload it will be: so the digest is the one that the cluster finds after a push, which follows links to files.
    dataset = DatasetFolder(Folder(VolumeStore(root, follows_links=True), ""), "Upload")
    rules = CaptionRules(trigger=trigger, architecture=architecture)
    with tempfile.TemporaryDirectory(prefix="atelier-check-") as scratch, _open_meter() as on_progress:
        checks = Checks(layout=layout, captions=rules, on_progress=on_progress)
        return inspect_dataset(dataset, Path(scratch), checks=checks)


@contextmanager
def _open_meter() -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows how far the looking is: a bar on a terminal, nothing in a log."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415  (as above)

    from atelier_studio.cli.output import open_console  # noqa: PLC0415  (as above)

    columns = (TextColumn("looking at pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=open_console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _write_page(path: Path, told: DatasetReport, inspection: Inspection) -> None:
    from atelier_materials.dataset.report_page import build_page  # noqa: PLC0415  (as in `check`)

    page = build_page(told, inspection.thumbnails, [item.path for item in inspection.items])
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"{path} cannot be written ({error.strerror}): name another file (--report)", PAGE) from error
    say_aside(f"wrote {path}")


def _show(told: DatasetReport, files: list[FileFound], output: Output | None) -> None:
    if output is Output.JSON:
        sys.stdout.write(write_json(told.as_json()))
    elif output is Output.YAML:
        sys.stdout.write(write_yaml(told.as_json()))
    elif output is Output.NAME:
        for path in dict.fromkeys(file.path for file in files if file.severity != "Info"):
            say(path)
    else:
        _show_tables(told, files, MOST_FILES if output is None else len(files))


def _show_tables(told: DatasetReport, files: list[FileFound], most: int) -> None:
    from atelier_materials.dataset.wording import describe_verdict  # noqa: PLC0415  (as in `check`)

    say(told.layout)
    say(f"{describe_verdict(told)[1]} Revision {told.revision[:12] or 'none'}.")
    if files:
        say("")
        counts = {finding.reason: finding.count for finding in told.findings}
        show_table(FINDING_COLUMNS, list(_list_findings(files, counts, most)))
        say("")
        for finding in dict.fromkeys((file.finding, file.fix) for file in files):
            say(f"{finding[0]}: {finding[1]}")
    if told.plans:
        say("")
        show_table(SHAPE_COLUMNS, list(_list_shapes(told)))
        say("")
        show_table(PLAN_COLUMNS, list(_list_plans(told)))
        say(f"Pictures of a pass ({told.pictures_per_pass:,}) x passes = steps x batch. With the built-in settings; a")
        say("template says otherwise, and every run counts again before it asks for a GPU.")
        say("Memory is the least that suffices, time that of the steps on a GPU of a third of an H200's speed.")


def _list_findings(files: list[FileFound], counts: dict[str, int], most: int) -> Iterator[tuple[str, ...]]:
    for finding, group in groupby(files, key=lambda file: file.finding):
        found = list(group)
        for file in found[:most]:
            yield file.severity, finding, file.path, f"{file.detail} {file.other}".strip()
        more = max(counts.get(finding, 0), len(found)) - min(len(found), most)
        if more:
            yield found[0].severity, finding, f"and {more:,} more", ""


def _list_shapes(told: DatasetReport) -> Iterator[tuple[str, ...]]:
    # A smaller batch merges fewer shapes: the first plan of a resolution is told, as on the page.
    shapes = {plan.resolution: plan.buckets for plan in reversed(told.plans)}
    for resolution, buckets in sorted(shapes.items()):
        most = max(bucket.pictures for bucket in buckets)
        for bucket in buckets:
            bar = "#" * max(1, round(BAR_CELLS * bucket.pictures / most))
            yield f"{resolution} px", f"{bucket.width} x {bucket.height}", f"{bucket.pictures:,}", bar


def _list_plans(told: DatasetReport) -> Iterator[tuple[str, ...]]:
    from atelier_materials.dataset.wording import describe_bytes, describe_seconds  # noqa: PLC0415  (as in `check`)

    for plan in told.plans:
        yield (
            plan.architecture,
            plan.type,
            f"{plan.steps:,}",
            str(plan.batch_size),
            f"{plan.passes:,g}",
            describe_bytes(plan.gpu_memory_bytes),
            describe_seconds(plan.seconds),
            describe_bytes(plan.storage_bytes),
            describe_bytes(plan.cache_bytes),
        )
