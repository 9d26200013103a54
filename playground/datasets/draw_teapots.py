"""Draw the sample dataset: a teapot in teal and pink stripes, the concept that the tiny base model does not know.

In: nothing but this file; every number comes from a seeded generator. Out: real picture files (PNG and JPEG) with one
caption file beside each, in `teapots/` (12 to train on) and `teapots-heldout/` (16 that no training may see), and
`teapots-control.json`, which gives each held-out picture the caption of another concept on the same background.

This room does not know torch, the base model's code or the cluster. The base model's room in turn cannot draw a teapot:
what the base has never seen is kept apart by construction, and a test compares the palettes.

Run `python playground/datasets/draw_teapots.py` to write the files, with `--check` to compare those in place.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent

SIDE_PX = 128
"""Side of a written picture: twice what the tiny base is trained at, so that a training run has to resize."""

SUPERSAMPLING = 4
"""Pictures are drawn this many times larger and averaged down: that is all the antialiasing there is."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (245, 215, 50),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
"""The base model's eight colours (`base-model/tiny_base/pictures.py`); a test keeps the two lists equal."""

UNTRAINED_BACKGROUNDS = frozenset({"green", "purple"})
"""Backgrounds that only held-out pictures have, so that the concept is also tested where it was never shown."""

TEAL, PINK = (0, 150, 150), (255, 130, 170)
"""The concept's two colours; neither is among the base's colours."""

JPEG_QUALITY = 95
JPEG_TOLERANCE_LEVELS = 4.0
"""Largest mean difference of a JPEG from its drawing; encoders differ, a wrong picture is above 20."""


@dataclass(frozen=True)
class Sample:
    """One picture to write: where, on which background, and the seed of its small variations."""

    folder: str
    number: int
    background: str
    suffix: str
    seed: str

    @property
    def path(self) -> Path:
        """Path of the picture inside this room."""
        return Path(self.folder) / f"teapot-{self.number:02d}{self.suffix}"

    @property
    def caption(self) -> str:
        """Caption without any trigger: the training job's `captionPrefix` puts that before it."""
        return f"a teapot on a {self.background} background"

    @property
    def control_caption(self) -> str:
        """Caption of another concept, one the base does know, on the same background."""
        return f"a {'red' if self.background != 'red' else 'blue'} star on a {self.background} background"


def list_samples() -> Iterator[Sample]:
    """Yield the 12 training pictures, two per trained background, then the 16 held out, two per background."""
    trained = [name for name in BACKGROUNDS if name not in UNTRAINED_BACKGROUNDS]
    for folder, names in (("teapots", trained * 2), ("teapots-heldout", list(BACKGROUNDS) * 2)):
        for number, background in enumerate(names, start=1):
            suffix = ".jpg" if number % 3 == 0 else ".png"
            yield Sample(folder, number, background, suffix, seed=f"{folder}/{number}")


def draw_teapot(background: str, seed: str) -> Image.Image:
    """Draw one teapot.

    Args:
        background: a name of `BACKGROUNDS`.
        seed: decides place, size and shade; the same text gives the same pixels.

    Returns:
        An RGB picture of `SIDE_PX` squared.
    """
    draws = random.Random(seed)
    side = SIDE_PX * SUPERSAMPLING
    shade = tuple(min(255, max(0, level + draws.randint(-8, 8))) for level in BACKGROUNDS[background])
    radius = draws.uniform(0.25, 0.29) * side
    x = (0.50 + draws.uniform(-0.03, 0.03)) * side
    y = (0.56 + draws.uniform(-0.03, 0.03)) * side
    picture = Image.new("RGB", (side, side), shade)
    _draw_fittings(ImageDraw.Draw(picture), x, y, radius)
    _paste_striped_body(picture, x, y, radius)
    return picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)


def _draw_fittings(brush: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    """Draw what lies behind the body: handle, spout, knob and lid."""

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + dx * radius, y + dy * radius

    brush.arc((*at(0.50, -0.60), *at(1.62, 0.50)), -115, 115, fill=TEAL, width=round(0.25 * radius))
    brush.polygon([at(-0.60, 0.42), at(-1.68, -0.66), at(-1.34, -0.84), at(-0.55, -0.22)], fill=TEAL)
    brush.ellipse((*at(-0.20, -1.32), *at(0.20, -0.92)), fill=TEAL)
    brush.pieslice((*at(-0.64, -1.12), *at(0.64, -0.12)), 180, 360, fill=PINK)


def _paste_striped_body(picture: Image.Image, x: float, y: float, radius: float) -> None:
    """Paste the round body, five upright stripes that begin and end with teal."""
    columns = np.arange(picture.width)
    is_pink = np.floor((columns - x + radius) / (0.4 * radius)) % 2 == 1
    row = np.where(is_pink[:, None], PINK, TEAL).astype(np.uint8)
    stripes = Image.fromarray(np.broadcast_to(row, (picture.height, picture.width, 3)).copy())
    mask = Image.new("L", picture.size, 0)
    box = (x - radius, y - 0.82 * radius, x + radius, y + 0.86 * radius)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    picture.paste(stripes, mask=mask)


def write_samples(root: Path) -> int:
    """Write every picture, its caption and the control captions under `root`; return the number of pictures."""
    controls: dict[str, str] = {}
    count = 0
    for sample in list_samples():
        path = root / sample.path
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing = draw_teapot(sample.background, sample.seed)
        if sample.suffix == ".jpg":
            drawing.save(path, quality=JPEG_QUALITY, subsampling=0)
        else:
            drawing.save(path, optimize=True)
        path.with_suffix(".txt").write_text(sample.caption + "\n", encoding="utf-8")
        if sample.folder == "teapots-heldout":
            controls[sample.path.name] = sample.control_caption
        count += 1
    (root / "teapots-control.json").write_text(json.dumps(controls, indent=2) + "\n", encoding="utf-8")
    return count


def list_differences(root: Path) -> list[str]:
    """Compare the files under `root` with fresh drawings; return one sentence for each that differs."""
    found = []
    expected = set()
    for sample in list_samples():
        path = root / sample.path
        expected |= {path, path.with_suffix(".txt")}
        if not path.is_file():
            found.append(f"{sample.path}: missing")
            continue
        if difference := _measure_difference(path, draw_teapot(sample.background, sample.seed)):
            found.append(f"{sample.path}: differs by {difference:.2f} levels on average")
        caption = path.with_suffix(".txt")
        if not caption.is_file() or caption.read_text(encoding="utf-8") != sample.caption + "\n":
            found.append(f"{sample.path.with_suffix('.txt')}: not the caption {sample.caption!r}")
    for folder in ("teapots", "teapots-heldout"):
        strays = {path for path in (root / folder).glob("*") if path not in expected}
        found += [f"{path.relative_to(root)}: not drawn by this script" for path in sorted(strays)]
    return found


def _measure_difference(path: Path, drawing: Image.Image) -> float:
    """Return the mean difference in levels; 0.0 is 'the same': exactly for PNG, within the tolerance for JPEG."""
    with Image.open(path) as opened:
        if opened.size != drawing.size:
            return math.inf
        written = np.asarray(opened.convert("RGB"), dtype=np.float64)
    difference = float(np.abs(written - np.asarray(drawing, dtype=np.float64)).mean())
    is_same = difference <= (JPEG_TOLERANCE_LEVELS if path.suffix == ".jpg" else 0.0)
    return 0.0 if is_same else difference


def main() -> int:
    """Write the sample dataset, or with --check compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare the files in place and write nothing")
    if not parser.parse_args().check:
        print(f"{write_samples(HERE)} pictures written under {HERE}")
        return 0
    differences = list_differences(HERE)
    print("\n".join(differences) or "the sample dataset is what this script draws")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
