"""A folder of pictures as a camera makes them, for benchmarks: as large, as hard to decode, and all different.

Drawn from seeded noise of many scales with a camera's grain on top, so that a JPEG of them is about as large as one of
a photograph: 0.7 to 1 MB at two megapixels and quality 90. Drawn once, into the user's cache directory.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH_PX, HEIGHT_PX = 1632, 1224
"""1,997,568 pixels."""
QUALITY = 90
OCTAVES = (3, 7, 17, 41, 97, 229)
"""Cells across the longer side at each scale."""
GRAIN_LEVELS = 10.0
"""Standard deviation of the grain, chosen for the size of the files."""
WORDS = ("teapot", "kettle", "cup", "bowl", "jug", "vase", "plate", "glass")


def find_photographs(count: int, seed: int = 0) -> Path:
    """Return a folder of pictures with their captions; those that are missing are drawn first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "atelier" / f"photographs-{count}-{seed}"
    if not (folder / ".whole").exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"drawing {count} pictures into {folder}, once")
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(draw_photograph, [(folder, seed, number) for number in range(count)], chunksize=16))
        (folder / ".whole").touch()
    return folder


def draw_photograph(asked: tuple[Path, int, int]) -> None:
    """Write one picture and its caption, unless they are there."""
    folder, seed, number = asked
    path = folder / f"photo-{number:04}.jpg"
    if path.exists():
        return
    draws = np.random.default_rng([seed, number])
    canvas = np.zeros((HEIGHT_PX, WIDTH_PX, 3), dtype=np.float32)
    for cells in OCTAVES:
        small = draws.random((max(2, cells * 3 // 4), cells, 3), dtype=np.float32)
        for channel in range(3):
            plane = Image.fromarray(small[:, :, channel]).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)
            canvas[:, :, channel] += np.asarray(plane) / np.sqrt(cells)
    canvas = (canvas - canvas.min()) / (canvas.max() - canvas.min()) * 255
    grain = draws.standard_normal((HEIGHT_PX, WIDTH_PX, 1), dtype=np.float32) * GRAIN_LEVELS
    picture = Image.fromarray((canvas + grain).clip(0, 255).astype(np.uint8))
    caption = f"TKXW, a {WORDS[number % len(WORDS)]} number {number} on a table"
    path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    unfinished = path.with_suffix(".part")
    picture.save(unfinished, "JPEG", quality=QUALITY)
    unfinished.rename(path)
