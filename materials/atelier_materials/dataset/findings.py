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
    Finding.PICTURE_TOO_LARGE: (
        "Error",
        "Left out: over 100 megapixels (WebP, AVIF: 32, HEIC: 50), or a file over 512 MiB (those: 64). Scale it down.",
    ),
    Finding.FORMAT_NOT_ALLOWED: (
        "Error",
        "Left out: it is not PNG, JPEG, WebP, AVIF or HEIC, whatever its name says. Convert it.",
    ),
    Finding.FORMAT_NOT_INSTALLED: (
        "Error",
        "Left out: its decoder is not installed here. Install the extra heif (HEIC) or parquet, or convert it.",
    ),
    Finding.POLYGLOT_PICTURE: (
        "Error",
        "Left out: an archive, a web page or a program lies in the same file. Export it again from a picture editor.",
    ),
    Finding.PICTURE_BOMB: (
        "Error",
        "Left out: opening it would take far more work than a picture of its size needs. Do not trust it.",
    ),
    Finding.TOO_MANY_FRAMES: ("Error", "Left out: an animation of over 1,000 frames. Export the frame you want."),
    Finding.NAME_UNSAFE: (
        "Error",
        "Left out: its name holds line breaks, control or text-direction characters, or is no UTF-8. Rename it.",
    ),
    Finding.NAME_TOO_LONG: ("Error", "Left out: a name over 200 bytes, or a path over 900. Shorten it."),
    Finding.LAYOUT_CONFIG_UNUSABLE: (
        "Error",
        "This part of the TOML names no pictures here: image_dir must be a folder, relative to where the TOML lies.",
    ),
    Finding.ARCHIVE_UNSAFE_PATH: ("Error", "Refused: the archive would write outside its folder. Do not trust it."),
    Finding.ARCHIVE_LINK: ("Error", "Refused: it holds a link. Pack the files themselves (tar --dereference, zip)."),
    Finding.ARCHIVE_DEVICE: ("Error", "Refused: it holds a device or pipe. Pack pictures and captions alone."),
    Finding.ARCHIVE_BOMB: ("Error", "Refused: it would grow a hundredfold, or beyond the free space. Do not trust it."),
    Finding.ARCHIVE_TOO_MANY_FILES: ("Error", "Refused: over 100,000 entries. Split the dataset."),
    Finding.ARCHIVE_NAME_CLASH: (
        "Error",
        "Refused: two entries are one file where case, or how an accent is written, does not count. Rename one.",
    ),
    Finding.ARCHIVE_ENCRYPTED: ("Error", "Refused: it is encrypted. Unpack it yourself and give the folder."),
    Finding.ARCHIVE_UNREADABLE: (
        "Error",
        "Refused: no whole zip or tar (plain, gz, bz2, xz). Unpack it yourself and give the folder, or pack it again.",
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
    Finding.REGULARISATION_LEFT_OUT: (
        "Warning",
        "Left out: push these as a Dataset of their own and name it in conceptModel.priorPreservation.datasetRef.",
    ),
    Finding.SPLIT_LEFT_OUT: (
        "Warning",
        "Only train/ is trained on; pictures to measure with are held out from it. Move what you want into train/.",
    ),
    Finding.LAYOUT_SETTING_NOT_READ: (
        "Warning",
        "It belongs in the TrainingJob: shuffle_caption is tuning.shuffleTags, keep_tokens keepTags, flip_aug flip.",
    ),
    Finding.ARCHIVE_NESTED: ("Warning", "Not opened: an archive within an archive. Unpack it and pack its files."),
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
    Finding.CAPTION_LINES_JOINED: (
        "Info",
        "Its lines are read as one caption. For several to draw from, write NAME.txt, NAME.2.txt, NAME.3.txt.",
    ),
    Finding.TRANSPARENT_PICTURE: ("Info", "Its transparent parts are trained on as white. Put a ground behind it."),
    Finding.COLOURS_CONVERTED: ("Info", "Its colours (a profile other than sRGB, or CMYK) are converted to sRGB."),
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
