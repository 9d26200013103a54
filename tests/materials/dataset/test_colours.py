"""The way from a decoded picture to upright sRGB, which inspection and training share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from atelier_materials.dataset.colours import find_conversion, read_orientation, turn_upright
from atelier_materials.dataset.pictures import open_picture
from picture_files import SRGB_PROFILE, WIDE_PROFILE

NOISE = Image.effect_noise((40, 30), 90)


def reopen(picture: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return Image.open(buffer)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone(orientation: int) -> None:
    """A picture is turned as the library's own function turns it, in all eight ways."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = reopen(NOISE.convert("RGB"), "PNG", exif=exif)
    assert turn_upright(picture).tobytes() == ImageOps.exif_transpose(picture).tobytes()


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_broken_metadata_turn_nothing(exif: bytes) -> None:
    """A picture whose EXIF cannot be understood is upright."""
    picture = NOISE.convert("RGB")
    picture.info["exif"] = exif
    assert read_orientation(picture) == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("profile", [None, SRGB_PROFILE, b"no profile"])
def test_colours_in_srgb_keep_their_numbers(mode: str, profile: bytes | None) -> None:
    """Neither a picture without a profile nor one that says sRGB, nor a damaged profile, changes a level."""
    picture = NOISE.convert(mode)
    picture.info["icc_profile"] = profile
    assert turn_upright(picture).tobytes() == NOISE.convert(mode).convert("RGB").tobytes()


def test_another_profile_is_converted() -> None:
    """A colour of a wider space is brought into sRGB: the same pale green needs less red and blue there."""
    picture = Image.new("RGB", (4, 4), (120, 200, 120))
    picture.info["icc_profile"] = WIDE_PROFILE
    red, green, blue = turn_upright(picture).getpixel((0, 0))
    assert red < 100 < blue < 118
    assert green == pytest.approx(201, abs=3)


def test_profile_of_other_colours_is_passed_over() -> None:
    """A profile for RGB in a picture for printing says nothing of it."""
    assert find_conversion("CMYK", SRGB_PROFILE) is None


def test_huge_profile_is_passed_over() -> None:
    """A profile of many megabytes is not even parsed."""
    assert find_conversion("RGB", WIDE_PROFILE + bytes(5 << 20)) is None


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    """The ground shows through transparent pixels, half through half transparent ones."""
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    picture.putalpha(Image.frombytes("L", (2, 1), bytes([0, 128])))
    assert turn_upright(picture).getpixel((0, 0)) == (255, 255, 255)
    assert turn_upright(picture).getpixel((1, 0)) == (127, 127, 127)


def test_transparent_colour_of_a_palette_is_white() -> None:
    """A palette's transparent entry lets the ground through too."""
    picture = reopen(Image.new("RGB", (4, 4), (9, 8, 7)).quantize(2), "PNG", transparency=0)
    assert turn_upright(picture).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_deep_grey_keeps_its_levels(kind: type) -> None:
    """Sixteen bits of grey, however they are kept, become eight by proportion: half is half, not white."""
    picture = Image.fromarray(np.full((8, 8), 32768, dtype=kind))
    assert turn_upright(picture).getpixel((0, 0)) == (128, 128, 128)


def test_picture_is_opened_by_its_own_decoder_alone(tmp_path: Path) -> None:
    """A JPEG named .png is opened as what it is."""
    NOISE.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with open_picture(tmp_path / "a.png") as picture:
        assert picture.format == "JPEG"
