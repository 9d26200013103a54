"""Figures of a report in words: sizes, times, and what it all comes to. Pure text, for the page and the terminal."""

from __future__ import annotations

from typing import Literal

from atelier_contract.report import DatasetReport

Grade = Literal["error", "warning", "good"]


def describe_bytes(count: int) -> str:
    """Return a size as people read it: `940 kB`, `3.4 GB`. Powers of ten, as disks are sold."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def describe_seconds(seconds: int) -> str:
    """Return a time as people say it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def describe_verdict(report: DatasetReport) -> tuple[Grade, str]:
    """Return how a dataset is graded, and the sentence for people: what it can be used for, and what is in the way."""
    errors = sum(finding.count for finding in report.findings if finding.severity == "Error")
    warnings = sum(finding.count for finding in report.findings if finding.severity == "Warning")
    if not report.items:
        return "error", "No picture can be used: see what was found."
    uses = "for concept models and embeddings"
    if report.captioned < report.items:
        uses = "for embeddings; a concept model needs a caption for every picture"
    told = [
        f"{count:,} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    grade: Grade = "error" if errors else "warning" if warnings else "good"
    return grade, f"Usable {uses}" + (f". {' and '.join(told)}." if told else ". Nothing stands in the way.")
