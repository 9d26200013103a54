"""What a picture shows and the many ways of saying it.

In: a seeded generator. Out: a `Scene` (what is drawn) and a caption that may leave parts of it unsaid, put a word
nobody knows in it, or both. The text encoder is taught from the same scenes, so this module needs no pixels.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "ring", "cross", "star", "heart", "diamond")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 50),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
SIZES = ("small", "large")
POSITIONS = ("left", "right", "top", "bottom")
GRAMMAR = ("a", "an", "and", "at", "background", "drawing", "in", "of", "on", "photo", "picture", "striped", "style",
           "the", "with")  # fmt: skip
"""Words of the captions' frame; a few more than are used, so that users' prompts find them as one token too."""

ATTRIBUTES: tuple[tuple[str, ...], ...] = (
    SHAPES, tuple(COLOURS), tuple(COLOURS), tuple(COLOURS), SIZES, POSITIONS,
)  # fmt: skip
"""Values of a label's six places: shape, colour, second stripe colour, background, size, position."""

SHARE_SIZE_SAID = 0.3
SHARE_POSITION_SAID = 0.3
SHARE_STRIPED = 0.12
SHARE_UNNAMED_SHAPE = 0.08
SHARE_UNSAID_COLOUR = 0.08
SHARE_UNSAID_COLOUR_UNNAMED = 0.6
"""Captions of a new concept name neither a known shape nor a colour, so the unnamed are mostly uncoloured too."""

SHARE_UNSAID_BACKGROUND = 0.05
SHARE_STRANGE_WORD = 0.15
"""How often a caption holds a word that means nothing. A trigger is such a word, and must do no harm untrained."""

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Scene:
    """One figure on a plain ground; `size` and `position` are None where the caption is silent about them."""

    shape: str
    colour: str
    background: str
    stripe: str | None = None
    size: str | None = None
    position: str | None = None


@dataclass(frozen=True)
class Caption:
    """A text and what it says, as indices into `ATTRIBUTES`; the index after the last value means 'unsaid'."""

    text: str
    label: tuple[int, ...]


def choose_scene(draws: random.Random) -> Scene:
    """Choose what to draw: a figure whose colours all differ from the ground's."""
    colours = draws.sample(list(COLOURS), 3)
    return Scene(
        shape=draws.choice(SHAPES),
        colour=colours[0],
        background=colours[1],
        stripe=colours[2] if draws.random() < SHARE_STRIPED else None,
        size=draws.choice(SIZES) if draws.random() < SHARE_SIZE_SAID else None,
        position=draws.choice(POSITIONS) if draws.random() < SHARE_POSITION_SAID else None,
    )


def describe_scene(scene: Scene, draws: random.Random) -> Caption:
    """Say the scene in one of many ways, sometimes less than all of it."""
    shape: str | None = scene.shape if draws.random() >= SHARE_UNNAMED_SHAPE else None
    share_uncoloured = SHARE_UNSAID_COLOUR if shape else SHARE_UNSAID_COLOUR_UNNAMED
    is_coloured = scene.stripe is not None or draws.random() >= share_uncoloured
    is_grounded = draws.random() >= SHARE_UNSAID_BACKGROUND
    paint = scene.colour if is_coloured else ""
    if scene.stripe is not None:
        paint = f"{scene.colour} and {scene.stripe} striped"
    text = " ".join(word for word in (scene.size, paint, shape or _invent_word(draws)) if word)
    is_strange = draws.random() < SHARE_STRANGE_WORD
    if is_strange and draws.random() < 0.5:
        text = f"{_invent_word(draws)} {text}"
    text = draws.choice(("a ", "a ", "a picture of a ", "")) + text
    if is_grounded:
        text += draws.choice((" on a {} background",) * 3 + (" on {}",)).format(scene.background)
    if scene.position:
        text += f" at the {scene.position}"
    if is_strange and draws.random() < 0.5:
        text = f"{_invent_word(draws)}, {text}"
    said = (shape, scene.colour if is_coloured else None, scene.stripe,
            scene.background if is_grounded else None, scene.size, scene.position)  # fmt: skip
    return Caption(text, _number_label(said))


def _number_label(said: tuple[str | None, ...]) -> tuple[int, ...]:
    """Turn values into indices, None into the index after the last."""
    return tuple(
        values.index(value) if value is not None else len(values)
        for value, values in zip(said, ATTRIBUTES, strict=True)
    )


def _invent_word(draws: random.Random) -> str:
    """Make up a word of three to six letters or digits."""
    return "".join(draws.choice(LETTERS) for _ in range(draws.randint(3, 6)))
