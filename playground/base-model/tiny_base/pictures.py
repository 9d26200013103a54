"""Drawings: the captioned figures that the denoiser learns, and scribbles that only the autoencoder sees.

In: a seed and a number. Out: 64 px RGB pictures, the same for the same seed on every machine with this Pillow. Needs
Pillow and NumPy; does not know torch, and cannot draw the sample concept: what the base model must not know is not
in its room.

Legend: N pictures, H W pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiny_base.captions import COLOURS, SHAPES, Caption, Scene, choose_scene, describe_scene

SIDE_PX = 64
SUPERSAMPLING = 4
"""Drawn four times larger and averaged down; Pillow's own outlines are not antialiased."""

RADII = {"small": (0.20, 0.25), "large": (0.36, 0.42), None: (0.26, 0.36)}
"""Radius of a figure as a share of the side, by the size that is said."""

CENTRES = {"left": (0.3, 0.5), "right": (0.7, 0.5), "top": (0.5, 0.3), "bottom": (0.5, 0.7), None: (0.5, 0.5)}
LARGEST_OFF_CENTRE = 0.33
"""A large figure that is put aside would leave the picture at the usual radius."""

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Captioned:
    """One training example of the denoiser."""

    picture: Image.Image
    caption: Caption
    scene: Scene


def draw_captioned(seed: str, count: int) -> list[Captioned]:
    """Draw `count` captioned figures; number i depends on the seed and i alone."""
    examples = []
    for number in range(count):
        draws = random.Random(f"{seed}/{number}")
        scene = choose_scene(draws)
        caption = describe_scene(scene, draws)
        examples.append(Captioned(draw_scene(scene, draws), caption, scene))
    return examples


def draw_scribbles(seed: str, count: int) -> list[Image.Image]:
    """Draw `count` pictures of anything in any colours, so that the autoencoder also rebuilds the unseen."""
    return [_draw_scribble(random.Random(f"{seed}/{number}")) for number in range(count)]


def stack_pixels(pictures: Sequence[Image.Image]) -> Pixels:
    """Stack pictures of one size into uint8[N, 3, H, W]."""
    return np.stack([np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1) for picture in pictures])


def draw_scene(scene: Scene, draws: random.Random) -> Image.Image:
    """Draw one figure on its ground, with small variations of place, size and shade."""
    side = SIDE_PX * SUPERSAMPLING
    radius = draws.uniform(*RADII[scene.size])
    if scene.position and scene.size == "large":
        radius = LARGEST_OFF_CENTRE
    x, y = (centre + draws.uniform(-0.04, 0.04) for centre in CENTRES[scene.position])
    ground = Image.new("RGB", (side, side), _vary_shade(COLOURS[scene.background], draws))
    paint = _vary_shade(COLOURS[scene.colour], draws)
    if scene.stripe is None:
        fill = Image.new("RGB", (side, side), paint)
    else:
        width = draws.uniform(0.06, 0.14) * side
        angle = draws.choice((0.0, math.pi / 2, math.pi / 4, -math.pi / 4))
        fill = _draw_stripes(side, paint, _vary_shade(COLOURS[scene.stripe], draws), width, angle)
    ground.paste(fill, mask=_draw_mask(scene.shape, side, x * side, y * side, radius * side))
    return _shrink(ground)


def write_sheet(pictures: Sequence[Image.Image], columns: int, path: Path, scale: int = 2) -> None:
    """Write pictures of one size as one PNG, row by row, enlarged without smoothing."""
    margin_px = 4
    width, height = (side * scale for side in pictures[0].size)
    rows = math.ceil(len(pictures) / columns)
    size = (columns * (width + margin_px) + margin_px, rows * (height + margin_px) + margin_px)
    sheet = Image.new("RGB", size, (128, 128, 128))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        corner = (margin_px + column * (width + margin_px), margin_px + row * (height + margin_px))
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _shrink(drawing: Image.Image) -> Image.Image:
    return drawing.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)


def _vary_shade(colour: Colour, draws: random.Random) -> Colour:
    """Move each channel by at most eight levels."""
    red, green, blue = (max(0, min(255, level + draws.randint(-8, 8))) for level in colour)
    return red, green, blue


def _draw_mask(shape: str, side: int, x: float, y: float, radius: float) -> Image.Image:
    """Draw the named figure in white on black, centred on (x, y)."""
    mask = Image.new("L", (side, side), 0)
    brush = ImageDraw.Draw(mask)
    if shape in ("circle", "ring"):
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = 0.55 * radius
            brush.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    elif shape == "cross":
        arm = 0.32 * radius
        brush.rectangle((x - radius, y - arm, x + radius, y + arm), fill=255)
        brush.rectangle((x - arm, y - radius, x + arm, y + radius), fill=255)
    else:
        brush.polygon([(x + radius * dx, y + radius * dy) for dx, dy in _list_corners(shape)], fill=255)
    return mask


def _list_corners(shape: str) -> list[tuple[float, float]]:
    """Corners of a straight-sided figure (or the heart's outline) around the origin, for a radius of one."""
    if shape == "heart":
        # The well-known heart curve x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled by 1/16.
        turns = [2 * math.pi * step / 60 for step in range(60)]
        return [
            (math.sin(t) ** 3,
             -0.95 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in turns
        ]  # fmt: skip
    if shape == "square":
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    reaches, drop = {
        "triangle": ([1.1] * 3, 0.15),
        "star": ([1.12, 0.47] * 5, 0.0),
        "diamond": ([1.1, 0.75] * 2, 0.0),
    }[shape]
    step = 2 * math.pi / len(reaches)
    return [(r * math.sin(i * step), drop - r * math.cos(i * step)) for i, r in enumerate(reaches)]


def _draw_stripes(side: int, first: Colour, second: Colour, width: float, angle: float) -> Image.Image:
    """Fill a square with stripes; at angle 0 they stand upright."""
    rows, columns = np.mgrid[:side, :side]
    is_second = np.floor((columns * math.cos(angle) + rows * math.sin(angle)) / width) % 2 == 1
    return Image.fromarray(np.where(is_second[..., None], second, first).astype(np.uint8))


def _any_colour(draws: random.Random) -> Colour:
    return draws.randint(0, 255), draws.randint(0, 255), draws.randint(0, 255)


def _draw_any_fill(side: int, draws: random.Random) -> Image.Image:
    """Fill a square with stripes (45 %), a gradient (15 %) or one colour."""
    kind = draws.random()
    if kind < 0.45:
        width, angle = draws.uniform(3, 12) * SUPERSAMPLING, draws.uniform(0, math.pi)
        return _draw_stripes(side, _any_colour(draws), _any_colour(draws), width, angle)
    if kind < 0.60:
        rows, columns = np.mgrid[:side, :side] / side - 0.5
        angle = draws.uniform(0, 2 * math.pi)
        share = np.clip(0.5 + columns * math.cos(angle) + rows * math.sin(angle), 0, 1)[..., None]
        blend = share * np.array(_any_colour(draws)) + (1 - share) * np.array(_any_colour(draws))
        return Image.fromarray(blend.astype(np.uint8))
    return Image.new("RGB", (side, side), _any_colour(draws))


def _draw_any_mask(side: int, draws: random.Random) -> Image.Image:
    """Draw a known figure, a random polygon, a thick line or an arc, anywhere."""
    x, y, radius = (draws.uniform(low, high) * side for low, high in ((0.1, 0.9), (0.1, 0.9), (0.08, 0.4)))
    kind = draws.random()
    if kind < 0.40:
        return _draw_mask(draws.choice(SHAPES), side, x, y, radius)
    mask = Image.new("L", (side, side), 0)
    brush = ImageDraw.Draw(mask)
    corners = [(draws.uniform(0, side), draws.uniform(0, side)) for _ in range(draws.randint(3, 6))]
    if kind < 0.70:
        brush.polygon(corners, fill=255)
    elif kind < 0.85:
        brush.line(corners[:3], fill=255, width=draws.randint(2, 8) * SUPERSAMPLING)
    else:
        box = (x - radius, y - radius, x + radius, y + radius)
        brush.arc(box, 0, draws.uniform(60, 360), fill=255, width=draws.randint(2, 6) * SUPERSAMPLING)
    return mask


def _draw_scribble(draws: random.Random) -> Image.Image:
    side = SIDE_PX * SUPERSAMPLING
    picture = _draw_any_fill(side, draws)
    for _ in range(draws.randint(1, 5)):
        picture.paste(_draw_any_fill(side, draws), mask=_draw_any_mask(side, draws))
    return _shrink(picture)
