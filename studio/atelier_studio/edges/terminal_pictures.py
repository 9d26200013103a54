"""Pictures in a terminal, where the terminal has a way to show them (Sixel, or Kitty's protocol)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def can_show_pictures() -> bool:
    """Return whether standard output is a terminal that shows real pictures; it is asked by an escape sequence."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return False
    from textual_image import renderable  # noqa: PLC0415  (it asks the terminal when it is imported)

    return renderable.Image in {renderable.SixelImage, renderable.TGPImage}


def show_picture(picture: Image.Image) -> None:
    """Print a picture as well as the terminal can: with half blocks at worst, with nothing into a pipe."""
    if not sys.stdout.isatty():
        return
    from rich.console import Console  # noqa: PLC0415  (only what prints pictures waits for it)
    from textual_image import renderable  # noqa: PLC0415  (as above)

    Console().print(renderable.Image(picture))
