"""A thousand photographs nobody took: JPEGs of two megapixels as a camera would write them, kept for every benchmark.

Real collections cannot be shipped, and flat test pictures are too easy: they compress to nothing and decode at once. So
each picture is drawn to weigh what a photograph weighs (about 0.5 MB at quality 90): soft light over the scene, shapes
with edges, and the grain of a sensor. No two are alike, and a number always gives the same picture.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COUNT = 1000
LANDSCAPE_PX = (1632, 1224)
"""Width and height: 2.0 megapixels of a camera's 4:3. Every third picture stands upright."""
QUALITY = 90
GRAIN_LEVELS = 5.0
"""Standard deviation of the grain, of 255 levels: a small sensor in a living room."""
SHAPES = 24
REVISION = 1
"""Raised by every change of what is drawn: earlier folders are then left alone."""


def find_photographs(count: int = COUNT) -> Path:
    """Return the folder with exactly this many photographs, drawn at the first call into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atelier"
    folder = cache / f"photographs-{REVISION}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"DSC_{number:04d}.jpg"
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            draw_photograph(number).save(unfinished, "JPEG", quality=QUALITY)
            unfinished.replace(path)
    return folder


def draw_photograph(number: int) -> Image.Image:
    """Return one photograph: RGB, 1632 x 1224, or upright."""
    random = np.random.default_rng([REVISION, number])
    width, height = LANDSCAPE_PX if number % 3 else LANDSCAPE_PX[::-1]
    scene = _draw_light(random, width, height)
    for _ in range(SHAPES):
        _draw_shape(random, scene)
    grain = random.standard_normal((height, width, 1), dtype=np.float32) * GRAIN_LEVELS
    return Image.fromarray(np.clip(scene + grain, 0, 255).astype(np.uint8))


def _draw_light(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Return soft colours, [height, width, 3] of 0 to 255."""
    coarse = random.integers(20, 236, size=(7, 9, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32).copy()


def _draw_shape(random: np.random.Generator, scene: NDArray[np.float32]) -> None:
    """Lay an ellipse of another colour over a part of the scene."""
    height, width, _ = scene.shape
    half_width, half_height = random.integers(20, width // 5), random.integers(20, height // 5)
    left = int(random.integers(0, width - 2 * half_width))
    top = int(random.integers(0, height - 2 * half_height))
    part = scene[top : top + 2 * half_height, left : left + 2 * half_width]
    across = (np.arange(part.shape[1], dtype=np.float32) / half_width - 1) ** 2
    down = (np.arange(part.shape[0], dtype=np.float32) / half_height - 1) ** 2
    part[down[:, None] + across[None, :] <= 1] = random.integers(0, 256, size=3)


if __name__ == "__main__":
    print(find_photographs(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
