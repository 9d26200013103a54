"""Whatever the inspection accepts can be trained on, also of files that were damaged on the way."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from atelier_materials.dataset.pictures import PictureFacts, PictureRefused, look_at_picture
from atelier_trainer.learn.pictures import read_pixels, read_size, read_thumbnail
from picture_files import WIDE_PROFILE

MUTANTS = 60
"""Of each kind; some sixth of them is accepted."""
PHOTO = Image.effect_noise((30, 24), 90).resize((200, 160), Image.Resampling.BICUBIC).convert("RGB")


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def lay_over() -> Image.Image:
    picture = PHOTO.copy()
    picture.putalpha(PHOTO.convert("L"))
    return picture


def turn() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def encode_heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(PHOTO).save(buffer, quality=60)
    return buffer.getvalue()


KINDS = {
    "png": lambda: encode(lay_over(), "PNG", exif=turn()),
    "palette": lambda: encode(PHOTO.quantize(16), "PNG", transparency=3),
    "deep": lambda: encode(PHOTO.convert("L").convert("I;16"), "PNG"),
    "jpeg": lambda: encode(PHOTO, "JPEG", exif=turn(), icc_profile=WIDE_PROFILE),
    "progressive": lambda: encode(PHOTO, "JPEG", progressive=True),
    "cmyk": lambda: encode(PHOTO.convert("CMYK"), "JPEG"),
    "webp": lambda: encode(lay_over(), "WEBP"),
    "film": lambda: encode(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(9)]),
    "avif": lambda: encode(lay_over(), "AVIF", speed=10),
    "heic": encode_heic,
}


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with a few of them changed, left out, put in or cut off."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(changed))
        match draw.randrange(4):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                changed[min(at, 300)] = draw.randrange(256)
            case 2:
                changed[at:at] = draw.randbytes(4)
            case _:
                del changed[at : at + draw.randrange(1, 50)]
    return bytes(changed)


def list_accepted(data: bytes, path: Path) -> Iterator[PictureFacts]:
    """Yield the facts of each mutant that is accepted, while it lies at the path."""
    draw = random.Random(0)
    for mutant in [data, *(mutate(data, draw) for _ in range(MUTANTS))]:
        path.write_bytes(mutant)
        try:
            facts = look_at_picture(path)
        except PictureRefused:
            continue
        yield facts


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_is_trained_on(tmp_path: Path, kind: str) -> None:
    """Each file that the inspection accepts, damaged or not, is decoded by the training, at the size that was told."""
    path = tmp_path / "picture"
    accepted = 0
    for facts in list_accepted(KINDS[kind](), path):
        accepted += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what decoders remark on is not the question
            assert read_size(path) == (facts.width_px, facts.height_px)
            assert read_pixels(path, (64, 64), flip=False).isfinite().all()
            assert read_thumbnail(path).size == 768
    assert accepted


@pytest.mark.parametrize("kind", ["jpeg", "avif", "heic", "webp"])
def test_wide_colours_and_formats_reach_the_training(tmp_path: Path, kind: str) -> None:
    """A picture of any accepted format is read upright, its levels from -1 to 1."""
    path = tmp_path / "picture"
    path.write_bytes(KINDS[kind]())
    pixels = read_pixels(path, read_size(path), flip=False)
    assert -1 <= float(pixels.min()) < float(pixels.max()) - 0.1 <= 0.9
