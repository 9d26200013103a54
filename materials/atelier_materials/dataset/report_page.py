"""A report as one page for people: self-contained, without a script, readable on a telephone and by a screen reader.

In: a DatasetReport and small pictures. Out: HTML that fetches nothing: style and pictures are in it, and its own policy
forbids all else. Names come from strangers: every one is made fit to print and escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from string import Template

from atelier_contract.report import DatasetReport, FileFinding, TrainingPlan
from atelier_materials.dataset.naming import escape_name
from atelier_materials.dataset.wording import describe_bytes, describe_seconds, describe_verdict

MOST_PICTURES = 500
"""Shown with a thumbnail, those with findings first: about 2 MB of page."""
MOST_FILES = 100
"""Named of one kind; the document names more."""
THUMBNAIL_PX = 96
GRADES = {"Error": "error", "Warning": "warning", "Info": "info"}


def build_page(report: DatasetReport, thumbnails: Mapping[str, bytes], paths: list[str]) -> str:
    """Return the page.

    Args:
        report: what is told.
        thumbnails: JPEGs by path, of as many pictures as there are any.
        paths: of all usable pictures, sorted.
    """
    room = here() / "report_page.html"
    style = (here() / "report_page.css").read_text(encoding="utf-8")
    grade, verdict = describe_verdict(report)
    shown = _Pictures(thumbnails)
    return Template(room.read_text(encoding="utf-8")).substitute(
        style=style,
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        name=_text(report.dataset),
        layout=_text(report.layout[:1].upper() + report.layout[1:]),
        grade=grade,
        verdict=escape(verdict),
        counts="".join(_list_counts(report)),
        findings="".join(_list_findings(report, shown)) or '<p class="good">Nothing.</p>',
        shapes="".join(_list_shapes(report)) or "<p>No picture can be used.</p>",
        plans=_build_plans(report) if report.plans else "<p>No picture can be used.</p>",
        pictures=_build_grid(paths, shown),
        footer=f"Revision {report.revision[:12]}" if report.revision else "No revision: no picture can be used.",
    )


def here() -> Traversable:
    """Return where the page's template lies."""
    return files("atelier_materials.dataset")


class _Pictures:
    """Hands out thumbnails as image elements, up to the page's limit."""

    def __init__(self, thumbnails: Mapping[str, bytes]) -> None:
        self._thumbnails = thumbnails
        self._left = MOST_PICTURES

    def draw(self, path: str) -> str:
        """Return the element of a picture, or nothing where there is none or the page is full."""
        data = self._thumbnails.get(path)
        if data is None or self._left <= 0:
            return ""
        self._left -= 1
        source = base64.b64encode(data).decode()
        return (
            f'<img src="data:image/jpeg;base64,{source}" alt="{_text(path)}" width="{THUMBNAIL_PX}" '
            f'height="{THUMBNAIL_PX}" loading="lazy" decoding="async">'
        )


def _text(told: str) -> str:
    return escape(escape_name(told))


def _list_counts(report: DatasetReport) -> Iterator[str]:
    rows = [
        ("Usable pictures", f"{report.items:,} of {report.pictures:,}"),
        ("With a caption", f"{report.captioned:,}"),
        ("Shown in a pass", f"{report.pictures_per_pass:,}"),
        ("Size", describe_bytes(report.bytes)),
    ]
    if report.resolution is not None:
        sides = report.resolution
        rows.append(("Shorter side", f"{sides.min_px} to {sides.max_px} px, median {sides.median_px}"))
    if report.trigger:
        rows.append(("Trigger", _text(report.trigger)))
    for term, value in rows:
        yield f"<div><dt>{term}</dt><dd>{value}</dd></div>"


def _list_findings(report: DatasetReport, shown: _Pictures) -> Iterator[str]:
    counts = {finding.reason: finding.count for finding in report.findings}
    for reason, group in groupby(report.files, key=lambda file: file.reason):
        found = list(group)
        count = max(counts.get(reason, 0), len(found))
        grade = GRADES[found[0].severity]
        more = count - min(len(found), MOST_FILES)
        is_open = " open" if grade != "info" else ""
        yield (
            f'<details{is_open}><summary><h3>{escape(reason)}</h3> <span class="{grade}">{found[0].severity}</span>, '
            f"{count:,} {'file' if count == 1 else 'files'}</summary><p>{escape(found[0].fix)}</p>"
            f'<ul class="files">{"".join(_build_file(file, shown) for file in found[:MOST_FILES])}</ul>'
            + (f'<p class="pale">and {more:,} more</p>' if more else "")
            + "</details>"
        )


def _build_file(file: FileFinding, shown: _Pictures) -> str:
    pictures = shown.draw(file.path) + (shown.draw(file.other) if file.other else "")
    detail = f"{escape(file.detail)} {_text(file.other)}".strip()
    said = f'<br><span class="pale">{detail}</span>' if detail else ""
    return f"<li>{pictures}<p>{_text(file.path)}{said}</p></li>"


def _list_shapes(report: DatasetReport) -> Iterator[str]:
    told: set[int] = set()
    for plan in report.plans:
        if plan.resolution in told:
            continue
        told.add(plan.resolution)
        most = max(bucket.pictures for bucket in plan.buckets)
        rows = "".join(
            f'<tr><th scope="row">{bucket.width} × {bucket.height}</th><td class="number">{bucket.pictures:,}</td>'
            f'<td><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{100 * bucket.pictures / most:.1f}" height="8"></rect></svg></td></tr>'
            for bucket in plan.buckets
        )
        yield (
            f'<table class="bars"><caption>At {plan.resolution} px, pixels and pictures</caption>'
            f'<thead><tr><th scope="col">Shape</th><th scope="col" class="number">Pictures</th><th scope="col">Share'
            f"</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def _build_plans(report: DatasetReport) -> str:
    columns = ("Base model", "Model", "Steps", "Passes", "GPU memory", "Time", "Storage", "Cache")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(_build_plan(plan) for plan in report.plans)
    return (
        '<div class="scroll" role="region" aria-label="What a training takes" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="pale">With the built-in settings: pictures of a pass × passes = steps × batch. Memory is the least '
        "that suffices, time that of the steps on a GPU of a third of an H200's speed. A template says otherwise; "
        "every run counts again before it asks for a GPU.</p>"
    )


def _build_plan(plan: TrainingPlan) -> str:
    cells = (
        plan.type,
        f"{plan.steps:,} × batch {plan.batch_size}",
        f"{plan.passes:,g}",
        describe_bytes(plan.gpu_memory_bytes),
        describe_seconds(plan.seconds),
        describe_bytes(plan.storage_bytes),
        describe_bytes(plan.cache_bytes),
    )
    return f'<tr><th scope="row">{plan.architecture}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _build_grid(paths: list[str], shown: _Pictures) -> str:
    cells = []
    for path in paths:
        picture = shown.draw(path)
        if not picture:
            break
        cells.append(f"<li>{picture}{_text(path)}</li>")
    more = len(paths) - len(cells)
    tail = f'<p class="pale">and {more:,} more</p>' if more else ""
    return (f'<ul class="grid">{"".join(cells)}</ul>' if cells else "") + (tail or ("" if cells else "<p>None.</p>"))
