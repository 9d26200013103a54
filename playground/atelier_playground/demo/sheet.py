"""The contact sheet: every sample picture of a run on one page, prompts down, steps across, the base model first."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_CELL_PX = 128
_GAP_PX = 4
_HEADER_PX = 34
_MARGIN_PX = 210
_INK = "#202020"
_PALE = "#707070"


@dataclass(frozen=True)
class Column:
    """The samples of one step.

    Attributes:
        title: what stands above, such as `step 50`.
        note: smaller, below the title, such as a loss.
        pictures: one encoded picture a prompt.
    """

    title: str
    note: str
    pictures: Sequence[bytes]


def write_sheet(path: Path, prompts: Sequence[str], columns: Sequence[Column]) -> None:
    """Write the sheet as a PNG."""
    pitch = _CELL_PX + _GAP_PX
    size = (_MARGIN_PX + pitch * len(columns), _HEADER_PX + pitch * len(prompts))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(13), ImageFont.load_default(11)
    for row, prompt in enumerate(prompts):
        top = _HEADER_PX + row * pitch
        draw.multiline_text((8, top + _CELL_PX // 2 - 16), _fold(prompt, 32), _INK, small)
    for number, column in enumerate(columns):
        left = _MARGIN_PX + number * pitch
        draw.text((left + 2, 2), column.title, _INK, large)
        draw.text((left + 2, 18), column.note, _PALE, small)
        for row, picture in enumerate(column.pictures):
            _paste(sheet, picture, left, _HEADER_PX + row * pitch)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _paste(sheet: Image.Image, picture: bytes, left_px: int, top_px: int) -> None:
    with Image.open(io.BytesIO(picture)) as sample:
        sheet.paste(sample.convert("RGB").resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS), (left_px, top_px))


def _fold(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [lines[-1], word]
    return "\n".join(lines)
