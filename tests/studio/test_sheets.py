"""The contact sheet: where pictures lie, what is left out, and what fits."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from PIL import Image

from atelier_studio.actions.sheets import (
    GAP_PX,
    HEADER_PX,
    PROMPT_PX,
    Column,
    choose_steps,
    draw_sheet,
    fold_text,
    title_step,
)


def paint(color: str, side_px: int = 128) -> bytes:
    """Return a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (side_px, side_px), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_prompts_go_down_and_steps_across() -> None:
    """The picture of the second prompt in the second column lies below and right of the first."""
    columns = [
        Column("base model", "", [paint("red"), paint("green")]),
        Column("step 50", "loss 0.1", [paint("blue"), paint("yellow")]),
    ]
    sheet = draw_sheet(["a cup", "a jug"], columns)
    pitch = 128 + GAP_PX
    middles = [
        (PROMPT_PX + column * pitch + 64, HEADER_PX + row * pitch + 64) for column in range(2) for row in range(2)
    ]
    assert [sheet.getpixel(place) for place in middles] == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 0)]


def test_a_missing_picture_leaves_its_cell_empty() -> None:
    """Where a checkpoint has no picture of a prompt the ground shows."""
    sheet = draw_sheet(["a cup"], [Column("a", "", [paint("red")]), Column("b", "", [None])])
    assert sheet.getpixel((PROMPT_PX + 128 + GAP_PX + 64, HEADER_PX + 64)) == (255, 255, 255)


@pytest.mark.parametrize(("side_px", "cell_px"), [(64, 128), (200, 200), (1024, 256)])
def test_cells_follow_the_pictures(side_px: int, cell_px: int) -> None:
    """Tiny pictures are enlarged to be seen, large ones shrink to what a screen has room for."""
    sheet = draw_sheet(["a cup"], [Column("a", "", [paint("red", side_px)])])
    assert sheet.size == (PROMPT_PX + cell_px + GAP_PX, HEADER_PX + cell_px + GAP_PX)


def test_long_pictures_keep_their_proportions() -> None:
    """A picture twice as wide as high has the ground above and below it."""
    buffer = io.BytesIO()
    Image.new("RGB", (256, 128), "red").save(buffer, "PNG")
    sheet = draw_sheet(["a cup"], [Column("a", "", [buffer.getvalue()])])
    middle = PROMPT_PX + 128
    assert sheet.getpixel((middle, HEADER_PX + 10)) == (255, 255, 255)
    assert sheet.getpixel((middle, HEADER_PX + 128)) == (255, 0, 0)


def test_few_steps_are_all_shown() -> None:
    """What fits is not chosen from."""
    assert choose_steps([0, 100, 200], [], 12) == [0, 100, 200]


def test_many_steps_keep_ends_and_wishes() -> None:
    """Of forty steps twelve are shown: the base, the last, the best, and others spread between."""
    steps = choose_steps(range(0, 4100, 100), [1700], 12)
    assert len(steps) == 12
    assert {0, 1700, 4000} <= set(steps)
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 800


def test_step_0_is_called_the_base_model() -> None:
    """Nobody trained step 0."""
    assert (title_step(0), title_step(500)) == ("base model", "step 500")


def test_a_prompt_longer_than_its_row_is_cut() -> None:
    """Seven lines of a prompt are shown at most, and an ellipsis says that there is more."""
    text = fold_text("word " * 200, 32, 7)
    assert text.count("\n") == 6
    assert text.endswith("…")
    assert max(len(line) for line in text.split("\n")) <= 32
