"""Aspect buckets: a few shapes of about the same area, so that no picture is cropped to a square it never was.

In: picture sizes. Out: one shape per picture. Pure arithmetic: a laptop shows what a training will do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Shape = tuple[int, int]
"""Width and height in pixels."""

GRID_PX = 64
"""Sides are multiples of this: a latent of 8 px, halved three times in the denoiser, stays whole (Stable Diffusion)."""
LONGEST_RATIO = 2.0
"""Longer pictures than 2:1 are cropped to it: beyond, the base models have seen little."""


def list_shapes(resolution_px: int) -> list[Shape]:
    """Return all shapes on the grid whose area is at most, and close to, the square of the resolution."""
    area = resolution_px * resolution_px
    shapes = {(resolution_px, resolution_px)}
    for width in range(GRID_PX, 2 * resolution_px + 1, GRID_PX):
        height = area // width // GRID_PX * GRID_PX
        if height and max(width, height) <= LONGEST_RATIO * min(width, height):
            shapes |= {(width, height), (height, width)}
    return sorted(shape for shape in shapes if shape[0] * shape[1] > 0.75 * area)


def assign_shapes(
    sizes: Sequence[Shape], resolution_px: int, batch_size: int, repeats: Sequence[int] = ()
) -> list[Shape]:
    """Return the training shape of each picture.

    The shape nearest in log aspect ratio is taken. A bucket with fewer pictures than one batch would show them far more
    often than the others, so it is merged into its nearest neighbour, thinnest first. A picture counts as often as an
    epoch shows it.
    """
    shapes = list_shapes(resolution_px)
    nearest = {size: nearest_shape(size, shapes) for size in set(sizes)}
    chosen = [nearest[size] for size in sizes]
    while True:
        counts: Counter[Shape] = Counter()
        for shape, shown in zip(chosen, repeats or [1] * len(chosen), strict=True):
            counts[shape] += shown
        thin = sorted((count, shape) for shape, count in counts.items() if count < batch_size)
        if not thin or len(counts) == 1:
            return chosen
        merged = thin[0][1]
        target = nearest_shape(merged, [shape for shape in counts if shape != merged])
        chosen = [target if shape == merged else shape for shape in chosen]


def describe_shapes(shapes: Sequence[Shape]) -> str:
    """Return how many pictures are trained in which shape, for people: `512x512 px (20 pictures)`, the most first."""
    counts = sorted(Counter(shapes).items(), key=lambda row: (-row[1], row[0]))
    return ", ".join(f"{width}x{height} px ({count} pictures)" for (width, height), count in counts)


def nearest_shape(size: Shape, shapes: Sequence[Shape]) -> Shape:
    """Return the shape whose aspect ratio is nearest on a log scale; of equals, the smaller."""
    ratio = math.log(size[0] / size[1])
    return min(shapes, key=lambda shape: (abs(math.log(shape[0] / shape[1]) - ratio), shape))
