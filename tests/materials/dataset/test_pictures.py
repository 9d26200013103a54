"""What is told of a picture, and what of hostile ones, before anything else touches them."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier_contract.reasons import Finding
from atelier_materials.dataset import pictures
from atelier_materials.dataset.pictures import PictureFacts, PictureRefused, look_at_picture
from hostile_files import ZIP, build_chunk, build_film_png, build_film_webp, build_png, build_scans_jpeg
from picture_files import EPS, SRGB_PROFILE, WIDE_PROFILE, build_bomb, build_webp_bomb, draw_gif, draw_jpeg, draw_png

PHOTO = Image.effect_noise((30, 24), 90).resize((300, 240), Image.Resampling.BICUBIC).convert("RGB")


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_heic(picture: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    return bytes(write_to_memory(lambda buffer: pillow_heif.from_pillow(picture).save(buffer, quality=90, **options)))


def write_to_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def encode_avif(picture: Image.Image, **options: object) -> bytes:
    return encode(picture, "AVIF", speed=10, **options)


@pytest.fixture
def look(tmp_path: Path) -> Callable[[bytes], PictureFacts]:
    """Look at a file of these bytes."""

    def look_at(data: bytes) -> PictureFacts:
        path = tmp_path / "picture"
        path.write_bytes(data)
        return look_at_picture(path)

    return look_at


Look = Callable[[bytes], PictureFacts]


def refusal(look: Look, data: bytes) -> Finding:
    with pytest.raises(PictureRefused) as refused:
        look(data)
    return refused.value.finding


FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda picture: encode(picture, "PNG"),
    "JPEG": lambda picture: encode(picture, "JPEG", quality=90),
    "progressive": lambda picture: encode(picture, "JPEG", quality=90, progressive=True),
    "WebP": lambda picture: encode(picture, "WEBP", quality=90),
    "lossless": lambda picture: encode(picture, "WEBP", lossless=True),
    "AVIF": encode_avif,
    "HEIC": encode_heic,
}


@pytest.mark.parametrize("name", FORMATS)
def test_same_picture_in_every_format(look: Look, name: str) -> None:
    """Each format is decoded, and the same picture has nearly the same hash in all."""
    facts, plain = look(FORMATS[name](PHOTO)), look(FORMATS["PNG"](PHOTO))
    assert (facts.width_px, facts.height_px, facts.is_animated, facts.has_alpha) == (300, 240, False, False)
    assert (facts.dhash ^ plain.dhash).bit_count() <= 4


@pytest.mark.parametrize("name", FORMATS)
def test_cut_off_picture_is_unreadable(look: Look, name: str) -> None:
    """A file that breaks off is found, though a JPEG is decoded at an eighth of its size."""
    data = FORMATS[name](PHOTO.resize((1200, 960)))
    assert refusal(look, data[: len(data) * 2 // 3]) == Finding.UNREADABLE_PICTURE


def test_other_picture_has_another_hash(look: Look) -> None:
    """A mirrored picture differs in many bits."""
    facts = [look(encode(picture, "PNG")) for picture in (PHOTO, PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
    assert (facts[0].dhash ^ facts[1].dhash).bit_count() > 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_picture_has_the_hash_of_the_upright(look: Look, orientation: int) -> None:
    """Size, hash and thumbnail are those after EXIF orientation, and it is told that it was turned."""
    undo = {5: 5, 6: 2, 7: 6, 8: 4, 2: 0, 3: 3, 4: 1}  # Image.Transpose, the other way round
    stored = PHOTO if orientation == 1 else PHOTO.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts, upright = look(encode(stored, "PNG", exif=exif)), look(encode(PHOTO, "PNG"))
    assert (facts.width_px, facts.height_px) == (300, 240)
    assert facts.is_turned is (orientation != 1)
    assert (facts.dhash ^ upright.dhash).bit_count() <= 2


def test_thumbnail_is_small_and_says_nothing(look: Look) -> None:
    """The thumbnail is a JPEG of at most 96 pixels a side without any metadata."""
    exif = Image.Exif()
    exif[0x010F] = "CAMERA-OF-SOMEBODY"
    with Image.open(io.BytesIO(look(encode(PHOTO, "JPEG", exif=exif, comment="SECRET")).thumbnail)) as thumbnail:
        assert (thumbnail.format, thumbnail.size, dict(thumbnail.getexif())) == ("JPEG", (96, 77), {})
        assert "comment" not in thumbnail.info


def test_tiny_picture_has_a_thumbnail(look: Look) -> None:
    """One pixel is a picture too."""
    assert look(draw_png(1, 1)).width_px == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "I;16"])
@pytest.mark.parametrize("size", [(40, 30), (700, 500)])
def test_every_mode_of_png(look: Look, mode: str, size: tuple[int, int]) -> None:
    """Whatever colours are kept as, a picture has facts."""
    grey = PHOTO.resize(size).convert("L")
    facts = look(encode(grey.convert("I;16") if mode == "I;16" else PHOTO.resize(size).convert(mode), "PNG"))
    assert (facts.width_px, facts.height_px, facts.mode, bool(facts.thumbnail)) == (*size, mode, True)


def through(alpha: int) -> Image.Image:
    picture = PHOTO.copy()
    picture.putalpha(255)
    picture.putpixel((7, 7), (9, 9, 9, alpha))
    return picture


@pytest.mark.parametrize(("alpha", "expected"), [(255, False), (254, True), (0, True)])
def test_transparency_is_that_of_pixels(look: Look, alpha: int, expected: bool) -> None:
    """A channel for transparency that no pixel uses is none; a single pixel counts."""
    assert look(encode(through(alpha), "PNG")).has_alpha is expected


@pytest.mark.parametrize(("transparent", "expected"), [(0, True), (200, False)])
def test_transparency_of_palettes_counts_where_it_is_used(look: Look, transparent: int, expected: bool) -> None:
    """A transparent entry of a palette counts where some pixel has it."""
    picture = Image.new("P", (80, 64), 0)
    picture.putpalette(bytes(range(256)) * 3)
    picture.paste(255, (0, 0, 9, 9))
    assert look(encode(picture, "PNG", transparency=transparent)).has_alpha is expected


@pytest.mark.parametrize(("profile", "expected"), [(None, False), (SRGB_PROFILE, False), (WIDE_PROFILE, True)])
def test_profile_counts_where_it_changes_colours(look: Look, profile: bytes | None, expected: bool) -> None:
    """A profile that says sRGB is none."""
    assert look(encode(PHOTO, "JPEG", icc_profile=profile)).has_profile is expected


def test_colours_for_printing_are_converted(look: Look) -> None:
    """CMYK is told as colours that are converted."""
    facts = look(encode(PHOTO.convert("CMYK"), "JPEG"))
    assert (facts.mode, facts.has_profile) == ("CMYK", True)


def test_first_frame_of_an_animation_counts(look: Look) -> None:
    """A short animation is a picture, and said to be one."""
    assert look(build_film_png(3)).is_animated
    assert look(build_film_webp(3)).is_animated


def test_fill_between_segments_is_passed_over(look: Look) -> None:
    """A JPEG may round up where a segment begins: some fill, and a stray byte, are no fault."""
    data = draw_jpeg()
    facts = look(data[:2] + b"\xff" * 4000 + data[2:20] + b"\0" + data[20:])
    assert (facts.width_px, facts.height_px) == (80, 64)


def test_png_without_compression_in_one_piece(look: Look) -> None:
    """A PNG may keep all its pixels in one chunk, as they are: it is as large as its picture, and taken."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(PHOTO))
    header = build_chunk(b"IHDR", struct.pack(">IIBBBBB", *PHOTO.size, 8, 2, 0, 0, 0))
    pixels = build_chunk(b"IDAT", zlib.compress(rows, 0))
    facts = look(b"\x89PNG\r\n\x1a\n" + header + pixels + build_chunk(b"IEND", b""))
    assert (facts.width_px, facts.height_px) == (300, 240)


def test_telephone_picture_with_a_film_behind_it(look: Look) -> None:
    """Telephones append a short film or a second picture: that is no archive, and the picture is taken."""
    film = struct.pack(">I4s8s", 16, b"ftyp", b"isommp42") + bytes(5000)
    assert look(draw_jpeg() + film).width_px == 80
    assert look(draw_jpeg() + draw_jpeg()).width_px == 80


HOSTILE: dict[str, tuple[bytes, Finding]] = {
    "empty": (b"", Finding.UNREADABLE_PICTURE),
    "postscript": (EPS, Finding.FORMAT_NOT_ALLOWED),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Finding.FORMAT_NOT_ALLOWED),
    "fits": (b"SIMPLE  =                    T".ljust(2880), Finding.FORMAT_NOT_ALLOWED),
    "gif": (draw_gif(), Finding.FORMAT_NOT_ALLOWED),
    "tiff": (b"II*\0" + bytes(64), Finding.FORMAT_NOT_ALLOWED),
    "film": (struct.pack(">I4s8s", 16, b"ftyp", b"isommp42"), Finding.FORMAT_NOT_ALLOWED),
    "png of 200 megapixels": (build_bomb(), Finding.PICTURE_TOO_LARGE),
    "webp of 256 megapixels": (build_webp_bomb(), Finding.PICTURE_TOO_LARGE),
    "jpeg of 4 gigapixels": (
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + bytes(9) + b"\xff\xda\0\x02", Finding.PICTURE_TOO_LARGE,
    ),
    "png of 100,000 frames": (build_film_png(2, told=100_000), Finding.TOO_MANY_FRAMES),
    "webp of 100,000 frames": (build_film_webp(100_000), Finding.TOO_MANY_FRAMES),
    "png of a million chunks": (
        build_png(draw_png(), struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt")) * 1_000_000), Finding.PICTURE_BOMB,
    ),
    "jpeg of a thousand scans": (build_scans_jpeg(1000), Finding.PICTURE_BOMB),
    "png and zip": (draw_png() + ZIP, Finding.POLYGLOT_PICTURE),
    "jpeg and zip": (draw_jpeg() + ZIP, Finding.POLYGLOT_PICTURE),
    "webp and zip": (encode(PHOTO, "WEBP") + ZIP, Finding.POLYGLOT_PICTURE),
    "zip in a chunk": (build_png(draw_png(), b"", last=(b"juNk", ZIP)), Finding.POLYGLOT_PICTURE),
    "web page in a comment": (encode(PHOTO, "JPEG", comment=b"<html><script>"), Finding.POLYGLOT_PICTURE),
    "script in a first segment": (b"\xff\xd8\xff\xe0/*" + bytes(0x2F2A) + draw_jpeg()[2:], Finding.POLYGLOT_PICTURE),
    "php behind": (draw_png() + b"\n<?php system($_GET[0]); ?>", Finding.POLYGLOT_PICTURE),
    "windows program behind": (draw_png() + b"MZ\x90\0", Finding.POLYGLOT_PICTURE),
    "shell script behind": (draw_jpeg() + b"\n#!/bin/sh\n", Finding.POLYGLOT_PICTURE),
    "rar behind": (draw_jpeg() + bytes(100) + b"Rar!\x1a\x07\x01\0", Finding.POLYGLOT_PICTURE),
    "pdf": (build_png(draw_png(), b"", last=(b"teXt", b"%PDF-1.7\n")), Finding.POLYGLOT_PICTURE),
    "text that unpacks a thousandfold": (
        build_png(draw_png(), b"", last=(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20)))),
        Finding.UNREADABLE_PICTURE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_picture_is_named(look: Look, name: str) -> None:
    """Whatever is more, or other, than a picture is refused with its finding."""
    data, finding = HOSTILE[name]
    assert refusal(look, data) == finding


@pytest.mark.parametrize("name", ["AVIF", "HEIC", "WebP", "PNG", "JPEG"])
def test_zip_behind_any_format(look: Look, name: str) -> None:
    """An archive behind the picture is found in every container."""
    assert refusal(look, FORMATS[name](PHOTO) + ZIP) == Finding.POLYGLOT_PICTURE


def test_decoder_that_is_not_installed_is_named(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra for HEIC is missing, the finding says so: the picture is not damaged."""
    data = encode_heic(PHOTO)
    pictures._is_installed.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    try:
        assert refusal(look, data) == Finding.FORMAT_NOT_INSTALLED
    finally:
        pictures._is_installed.cache_clear()


def test_decoders_remarks_are_nobodys_warning(look: Look, tmp_path: Path) -> None:
    """What a decoder remarks on in many threads at once raises nothing, and warnings are as they were afterwards."""
    path = tmp_path / "many.jpg"
    path.write_bytes(encode(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05"))
    with ThreadPoolExecutor(4) as pool:
        assert {facts.width_px for facts in pool.map(look_at_picture, [path] * 40)} == {300}
    with pytest.raises(UserWarning):
        pictures.warnings.warn("still an error", stacklevel=1)
