"""The contact sheet: sample pictures of a run on one page, prompts down, steps across, the base model first.

Pictures come in as bytes and a sheet goes out: nothing is read or written here. Pillow is imported when a sheet is
drawn: most verbs draw none.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

LARGEST_CELL_PX, SMALLEST_CELL_PX = 256, 128
"""Sides of a cell: pictures of 1024 px shrink to a quarter, tiny ones are doubled once to be seen at all."""
GAP_PX, HEADER_PX, PROMPT_PX = 4, 38, 210
LINE_CHARACTERS = 32
"""Of a prompt beside its row, in the small font."""
MOST_LINES = 7
"""Of a prompt: what a row of the smallest cells has room for."""
INK, PALE, GROUND, MARK = "#202020", "#707070", "#ffffff", "#1b7f3b"
BASE = "base model"


@dataclass(frozen=True)
class Column:
    """The samples of one checkpoint.

    Attributes:
        title: what stands above, such as `step 50`.
        note: smaller, below the title, such as a loss.
        pictures: one encoded picture a prompt; None: this checkpoint has none of that prompt.
        is_marked: chosen or best: its title is drawn in another colour.
    """

    title: str
    note: str
    pictures: Sequence[bytes | None]
    is_marked: bool = False


def title_step(step: int) -> str:
    """Return what stands above a step's pictures."""
    return BASE if step == 0 else f"step {step}"


def choose_steps(steps: Sequence[int], wanted: Sequence[int], most: int) -> list[int]:
    """Return which steps to show: the base, what is wanted, and others evenly between, in order.

    Args:
        steps: all there are.
        wanted: those that must be among them.
        most: how many at most, unless more are wanted.
    """
    known = sorted(set(steps))
    if len(known) <= most:
        return known
    kept = {known[0], known[-1], *(step for step in wanted if step in known)}
    rest = [step for step in known if step not in kept]
    room = max(0, most - len(kept))
    kept.update(rest[round((number + 0.5) * len(rest) / room - 0.5)] for number in range(room))
    return sorted(kept)


def draw_sheet(prompts: Sequence[str], columns: Sequence[Column]) -> Image.Image:
    """Return the sheet as an RGB picture.

    Args:
        prompts: one a row; folded to the margin's width and cut to what the row has room for.
        columns: each with a picture for every prompt.
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (see above)

    cell_px = _choose_cell(columns)
    pitch_px = cell_px + GAP_PX
    sheet = Image.new("RGB", (PROMPT_PX + pitch_px * len(columns), HEADER_PX + pitch_px * len(prompts)), GROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(11)
    for row, prompt in enumerate(prompts):
        text = fold_text(prompt, LINE_CHARACTERS, MOST_LINES)
        middle = HEADER_PX + row * pitch_px + cell_px // 2
        draw.multiline_text((8, middle), text, INK, small, anchor="lm")
    for number, column in enumerate(columns):
        left = PROMPT_PX + number * pitch_px
        draw.text((left + 2, 2), _cut_to(column.title, cell_px, large), MARK if column.is_marked else INK, large)
        draw.text((left + 2, 20), _cut_to(column.note, cell_px, small), PALE, small)
        for row, picture in enumerate(column.pictures):
            if picture is not None:
                sheet.paste(_fit(picture, cell_px), (left, HEADER_PX + row * pitch_px))
    return sheet


def encode_sheet(sheet: Image.Image) -> bytes:
    """Return the sheet as a PNG."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def fold_text(text: str, width: int, most_lines: int) -> str:
    """Return text in lines of at most `width` characters where its words allow it, the last one cut."""
    lines = [""]
    for word in text.split():
        fits = len(lines[-1]) + len(word) < width
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if fits else [lines[-1], word]
    lines = [line for line in lines if line]
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], f"{lines[most_lines - 1][: width - 1]}…"]
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def _choose_cell(columns: Sequence[Column]) -> int:
    from PIL import Image  # noqa: PLC0415  (see above)

    first = next((picture for column in columns for picture in column.pictures if picture is not None), None)
    if first is None:
        return SMALLEST_CELL_PX
    with Image.open(io.BytesIO(first)) as picture:
        return min(LARGEST_CELL_PX, max(SMALLEST_CELL_PX, *picture.size))


def _fit(picture: bytes, cell_px: int) -> Image.Image:
    """Return a picture inside a square cell, its sides in proportion."""
    from PIL import Image, ImageOps  # noqa: PLC0415  (see above)

    with Image.open(io.BytesIO(picture)) as sample:
        return ImageOps.pad(sample.convert("RGB"), (cell_px, cell_px), Image.Resampling.LANCZOS, color=GROUND)


def _cut_to(text: str, width_px: int, font: FreeTypeFont | ImageFont) -> str:
    """Return text that is no wider than a column."""
    while text and font.getlength(text) > width_px - 4:
        text = f"{text.removesuffix('…')[:-1]}…" if len(text) > 1 else ""
    return text
