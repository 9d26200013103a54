"""What an inspection found: counted by kind for the status, file by file for the report, each with what to do.

Pure: files are looked at elsewhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from atelier_contract.dataset import MAX_FINDINGS, FindingStatus
from atelier_contract.reasons import Finding
from atelier_materials.dataset.naming import escape_name

Severity = Literal["Error", "Warning", "Info"]
TEXT_LENGTH = 256
"""`FindingStatus.example` and `.fix`."""
MOST_FILES = 1000
"""Named of one kind; further ones are counted. A report of everything at once stays under a few megabytes."""

ADVICE: dict[Finding, tuple[Severity, str]] = {
    Finding.SOURCE_MISSING: ("Error", "Correct spec.source of the Dataset, or put pictures there."),
    Finding.NO_PICTURES: ("Error", "Add PNG, JPEG or WebP files."),
    Finding.UNREADABLE_PICTURE: ("Error", "Left out: it cannot be decoded. Export it again, or remove it."),
    Finding.PICTURE_TOO_LARGE: (
        "Error",
        "Left out: scale it down to 110 megapixels (PNG 80, HEIC 50, AVIF 32, WebP 20), 512 MiB (the last three 32).",
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
    Finding.ARCHIVE_TOO_MANY_FILES: ("Error", "Refused: over 60,000 entries. Push the folder itself, or split it."),
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
    Finding.PICTURE_CROPPED: (
        "Warning",
        "Longer than two to one: training sees its middle alone. Cut it into pictures that each show something.",
    ),
    Finding.PICTURE_TOO_SMALL: ("Warning", "Its shorter side is under 64 pixels, so it is enlarged and blurred."),
    Finding.DUPLICATE_PICTURE: ("Warning", "The same picture lies there more than once and weighs more. Remove one."),
    Finding.NEAR_DUPLICATE_PICTURE: (
        "Warning",
        "Nearly the same picture, resized, cropped or saved again: it weighs more than others. Keep the better one.",
    ),
    Finding.NAME_CASE_CLASH: (
        "Warning",
        "Two names differ in upper and lower case alone: on many disks they are one file. Rename one.",
    ),
    Finding.CAPTION_SHARED: (
        "Warning",
        "Pictures whose names differ in their suffix alone share one caption and mask. Rename one, with its own.",
    ),
    Finding.TRIGGER_MISSPELT: (
        "Warning",
        "A word that is nearly the trigger, and to the model another. Write it as the trigger is written.",
    ),
    Finding.TRIGGER_DOUBLED: ("Warning", "The trigger is in its caption more than once. Keep one."),
    Finding.CAPTIONS_INCONSISTENT: (
        "Warning",
        "Most captions have a word that looks like a trigger, this one has not. Add it, or name it as caption prefix.",
    ),
    Finding.CAPTION_WITHOUT_PICTURE: ("Info", "No picture of that name lies beside it: rename one of the two."),
    Finding.MASK_WITHOUT_PICTURE: (
        "Info",
        "No picture lies beside it: NAME.mask.png belongs to NAME.png or NAME.jpg.",
    ),
    Finding.FOLDER_REPEATS: ("Info", "Folders named NN_words show their pictures NN times a pass. Rename to undo."),
    Finding.CAPTION_TOO_LONG: (
        "Info",
        "Text encoders read 75 tokens beside their marks (FLUX.1: 512): the rest is not seen. Shorten it.",
    ),
    Finding.TRIGGER_ABSENT: ("Info", "Training puts the trigger before a caption that lacks it: nothing to do."),
    Finding.PICTURE_OVERSIZED: (
        "Info",
        "Over 40 megapixels, of which training sees 4 at most: every start reads all of it. Scale it down.",
    ),
    Finding.CAPTION_LINES_JOINED: (
        "Info",
        "Its lines are read as one caption. For several to draw from, write NAME.txt, NAME.2.txt, NAME.3.txt.",
    ),
    Finding.TRANSPARENT_PICTURE: ("Info", "Its transparent parts are trained on as white. Put a ground behind it."),
    Finding.COLOURS_CONVERTED: ("Info", "Its colours (a profile other than sRGB, or CMYK) are converted to sRGB."),
    Finding.PICTURE_TURNED: ("Info", "It is turned upright, as its camera noted (EXIF): nothing to do."),
    Finding.ANIMATED_PICTURE: ("Info", "Only its first frame is used."),
}
"""Gravest first; statuses are listed in this order."""


@dataclass(frozen=True)
class FileFound:
    """One file with one fault."""

    finding: Finding
    path: str
    """Of the file, or what is meant where the whole dataset is."""
    detail: str = ""
    """What was seen there. No caption. Empty: the kind says it all."""
    other: str = ""
    """Path of another file that it is about, such as the one it equals; ends the sentence that the detail begins."""

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return ADVICE[self.finding][0]

    @property
    def fix(self) -> str:
        """What to do."""
        return ADVICE[self.finding][1]


class Findings:
    """Counts by kind, and the files of each."""

    def __init__(self) -> None:
        self._files: dict[Finding, list[FileFound]] = {}
        self._counts: Counter[Finding] = Counter()

    def add(self, finding: Finding, path: str, detail: str = "", other: str = "") -> None:
        """Note one more file of a kind."""
        self._counts[finding] += 1
        files = self._files.setdefault(finding, [])
        if len(files) < MOST_FILES:
            files.append(FileFound(finding, escape_name(path), escape_name(detail), escape_name(other)))

    def list_files(self) -> list[FileFound]:
        """Return the files, gravest kind first, in the order they were found; at most a thousand of a kind."""
        return [file for finding in self._list_kinds() for file in self._files[finding]]

    def count(self, *severities: Severity) -> int:
        """Return how many files have findings of these severities."""
        return sum(count for finding, count in self._counts.items() if ADVICE[finding][0] in severities)

    def as_statuses(self) -> list[FindingStatus]:
        """Return the kinds as a status holds them, gravest first."""
        found = [
            FindingStatus(
                reason=finding,
                severity=ADVICE[finding][0],
                count=self._counts[finding],
                example=_cut(self._files[finding][0].path),
                fix=ADVICE[finding][1],
            )
            for finding in self._list_kinds()
        ]
        return found[:MAX_FINDINGS]

    def as_sentence(self) -> str:
        """Return the gravest findings as one sentence, for a dataset without a usable picture."""
        told = [f"{self._counts[f]} {f} (such as {_cut(self._files[f][0].path)})" for f in self._list_kinds()]
        return "; ".join(told[:3])

    def _list_kinds(self) -> list[Finding]:
        return [finding for finding in ADVICE if finding in self._counts]


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else f"…{text[-(TEXT_LENGTH - 1) :]}"
