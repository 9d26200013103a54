"""What an inspection found, counted by kind: with one example, a severity, and what to do.

Pure: files are looked at elsewhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from atelier_contract.dataset import MAX_FINDINGS, FindingStatus
from atelier_contract.reasons import Finding

Severity = Literal["Error", "Warning", "Info"]
TEXT_LENGTH = 256
"""`FindingStatus.example` and `.fix`."""

ADVICE: dict[Finding, tuple[Severity, str]] = {
    Finding.SOURCE_MISSING: ("Error", "Correct spec.source of the Dataset, or put pictures there."),
    Finding.NO_PICTURES: ("Error", "Add PNG, JPEG or WebP files."),
    Finding.UNREADABLE_PICTURE: ("Error", "Left out: it cannot be decoded. Export it again, or remove it."),
    Finding.PICTURE_TOO_LARGE: ("Error", "Left out: over 100 megapixels. Scale it down."),
    Finding.FORMAT_NOT_ALLOWED: (
        "Error",
        "Left out: it is not PNG, JPEG or WebP, whatever its name says. Convert it.",
    ),
    Finding.CAPTION_UNREADABLE: (
        "Error",
        "Not used: write UTF-8 text of at most 64 KiB; a table needs file_name and text, separated by commas.",
    ),
    Finding.MASK_UNUSABLE: ("Error", "Not used: a mask is a PNG, JPEG or WebP of its picture's width and height."),
    Finding.CAPTION_MISSING: (
        "Warning",
        "A concept model needs a caption for every picture: add NAME.txt beside it. Embeddings need none.",
    ),
    Finding.CAPTION_MISNAMED: (
        "Warning",
        "Not read: its name ends in txt or caption without a dot before it. Call it NAME.txt, beside NAME.png.",
    ),
    Finding.FEW_PICTURES: ("Warning", "Under 12 pictures none are held out to measure with. Add more."),
    Finding.PICTURE_TOO_SMALL: ("Warning", "Its shorter side is under 64 pixels, so it is enlarged and blurred."),
    Finding.DUPLICATE_PICTURE: ("Warning", "The same picture lies there more than once and weighs more. Remove one."),
    Finding.CAPTION_WITHOUT_PICTURE: ("Info", "No picture of that name lies beside it: rename one of the two."),
    Finding.MASK_WITHOUT_PICTURE: (
        "Info",
        "No picture lies beside it: NAME.mask.png belongs to NAME.png or NAME.jpg.",
    ),
    Finding.FOLDER_REPEATS: ("Info", "Folders named NN_words show their pictures NN times a pass. Rename to undo."),
    Finding.CAPTION_TOO_LONG: ("Info", "Text encoders read 77 tokens, about 60 words: the rest is not seen."),
    Finding.ANIMATED_PICTURE: ("Info", "Only its first frame is used."),
}
"""Gravest first; statuses are listed in this order."""


class Findings:
    """Counts by kind, each with its first example."""

    def __init__(self) -> None:
        self._counts: Counter[Finding] = Counter()
        self._examples: dict[Finding, str] = {}

    def add(self, finding: Finding, example: str) -> None:
        """Count one more item of a kind."""
        self._counts[finding] += 1
        self._examples.setdefault(finding, example)

    def as_statuses(self) -> list[FindingStatus]:
        """Return the findings, gravest first."""
        found = [
            FindingStatus(
                reason=finding,
                severity=severity,
                count=self._counts[finding],
                example=_cut(self._examples[finding]),
                fix=fix,
            )
            for finding, (severity, fix) in ADVICE.items()
            if finding in self._counts
        ]
        return found[:MAX_FINDINGS]

    def as_sentence(self) -> str:
        """Return the gravest findings as one sentence, for a dataset without a usable picture."""
        told = [f"{self._counts[f]} {f} (such as {_cut(self._examples[f])})" for f in ADVICE if f in self._counts]
        return "; ".join(told[:3])


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"…{text[-(TEXT_LENGTH - 1) :]}"
