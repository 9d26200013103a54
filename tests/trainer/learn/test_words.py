"""How pictures are worded, shaped and split: the pure parts around the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atelier_materials.dataset.buckets import assign_shapes, list_shapes
from atelier_materials.dataset.triggers import put_trigger
from atelier_materials.errors import DatasetUnusable
from atelier_trainer.learn.captions import PHRASINGS, Wording
from atelier_trainer.learn.pictures import read_pixels, read_size
from atelier_trainer.learn.split import choose_held_out
from atelier_trainer.records import Picture
from learning import TEAPOTS, read_pictures


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a teapot", "TKXW, a teapot"), ("", "TKXW"), ("an old TKXW", "an old TKXW")],
)
def test_the_trigger_is_put_before_a_text_that_lacks_it(text: str, expected: str) -> None:
    """A prefix, a comma and the caption; the prefix alone for an empty one; nothing where it is there already."""
    assert put_trigger("TKXW", text) == expected


@pytest.mark.parametrize(
    ("trigger", "text", "is_there"),
    [
        ("art", "a party", False),
        ("art", "art, a party", True),
        ("art", "modern art.", True),
        ("<tkxw>", "a <tkxw> on a table", True),
        ("<tkxw>", "<tkxw>", True),
        ("a+b", "an aab", False),
    ],
)
def test_a_trigger_is_there_only_as_a_whole_word(trigger: str, text: str, is_there: bool) -> None:
    """Letters inside another word are not the trigger, and its signs mean themselves."""
    assert put_trigger(trigger, text) == (text if is_there else f"{trigger}, {text}")


def never_pause() -> None:
    """Let everything be read."""


def test_no_trigger_leaves_captions_alone() -> None:
    """An empty prefix changes nothing."""
    assert Wording("").word("a teapot") == "a teapot"


def test_a_picture_without_a_caption_is_called_by_the_prefix() -> None:
    """A concept model's prefix is the whole caption where there is none."""
    assert Wording("TKXW").word(None) == "TKXW"


def test_an_embedding_without_captions_uses_twenty_phrasings() -> None:
    """Each of the twenty sentences is different and holds the placeholder."""
    wording = Wording("<tkxw>", PHRASINGS)
    sentences = {wording.word(None, pick) for pick in range(20)}
    assert len(sentences) == 20
    assert all("<tkxw>" in sentence for sentence in sentences)


def test_shapes_have_about_the_area_of_the_square() -> None:
    """Every shape is on the grid, not larger than the square and not much smaller."""
    shapes = list_shapes(512)
    assert (512, 512) in shapes
    assert all(w % 64 == 0 and h % 64 == 0 and 0.75 * 512**2 < w * h <= 512**2 for w, h in shapes)


def test_pictures_get_the_shape_nearest_to_their_own() -> None:
    """Landscape, portrait and square pictures get landscape, portrait and square shapes."""
    sizes = [(1600, 1000)] * 4 + [(1000, 1600)] * 4 + [(800, 800)] * 4
    shapes = assign_shapes(sizes, 512, 4)
    assert [w > h for w, h in shapes] == [True] * 4 + [False] * 8
    assert shapes[8] == (512, 512)


def test_a_thin_bucket_joins_its_neighbour() -> None:
    """One panorama among squares does not become a bucket that is shown in every epoch four times."""
    assert set(assign_shapes([(800, 800)] * 6 + [(1600, 800)], 512, 4)) == {(512, 512)}


def build_set(folder: Path, count: int) -> list[Picture]:
    """Return pictures of plainly different colours."""
    pictures = []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        Image.new("RGB", (32, 32), (number * 9 % 256, number * 37 % 256, number * 101 % 256)).save(path)
        pictures.append(Picture(path, f"{number * 7919 % 1000:064d}", None))
    return pictures


def test_small_sets_hold_nothing_out(tmp_path: Path) -> None:
    """Under 12 pictures every one is trained on."""
    assert choose_held_out(build_set(tmp_path, 11), never_pause) == []


def test_one_picture_in_ten_is_held_out(tmp_path: Path) -> None:
    """Of 40 pictures four are held out, by content: the order of the dataset does not matter."""
    pictures = build_set(tmp_path, 40)
    held_out = choose_held_out(pictures, never_pause)
    assert len(held_out) == 4
    assert held_out == choose_held_out(pictures[::-1], never_pause)


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    """A picture and its re-encoded copy are held out together or not at all."""
    pictures = build_set(tmp_path, 40)
    for number in choose_held_out(pictures, never_pause):
        original = next(p for p in pictures if p.sha256 == number)
        copy = tmp_path / f"copy-{number}.jpg"
        Image.open(original.path).save(copy, quality=90)
        pictures.append(Picture(copy, f"{int(number) + 500:064d}", None))
    held_out = set(choose_held_out(pictures, never_pause))
    pairs = [(q.path.stem.removeprefix("copy-"), q.sha256) for q in pictures[40:]]
    assert pairs
    assert all((first in held_out) == (second in held_out) for first, second in pairs)


def test_two_shots_of_one_subject_are_not_near_duplicates() -> None:
    """The teapots, twelve drawings of one thing, still give a held-out picture."""
    assert len(choose_held_out(read_pictures(TEAPOTS), never_pause)) == 1


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    """A photograph whose camera was held sideways is measured and read as it is seen."""
    picture = Image.new("RGB", (80, 40), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "side.jpg", exif=exif)
    assert read_size(tmp_path / "side.jpg") == (40, 80)
    assert read_pixels(tmp_path / "side.jpg", (64, 128), flip=False).shape == (1, 3, 128, 64)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    """What a cut-out picture does not show is white, not whatever colour hides there."""
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "cut.png")
    assert read_pixels(tmp_path / "cut.png", (64, 64), flip=False).eq(1).all()


@pytest.mark.parametrize("level", [0, 32768, 65535])
def test_deep_greyscale_keeps_its_levels(tmp_path: Path, level: int) -> None:
    """Sixteen bits of grey become eight by proportion: half of the range is half bright, not white."""
    Image.fromarray(np.full((64, 64), level, dtype=np.uint16)).save(tmp_path / "deep.png")
    pixels = read_pixels(tmp_path / "deep.png", (64, 64), flip=False)
    assert (pixels - (level / 65535 * 2 - 1)).abs().max() < 1 / 127


def test_a_mirrored_picture_is_mirrored(tmp_path: Path) -> None:
    """Flipping swaps left and right and nothing else."""
    picture = Image.new("RGB", (64, 64), "black")
    picture.paste("white", (0, 0, 16, 64))
    picture.save(tmp_path / "left.png")
    plain, mirrored = (read_pixels(tmp_path / "left.png", (64, 64), flip=flip) for flip in (False, True))
    assert plain.flip(3).equal(mirrored)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    """A file that breaks off is refused by name."""
    Image.effect_noise((128, 128), 90).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetUnusable, match=r"torn\.jpg"):
        read_pixels(tmp_path / "torn.jpg", (64, 64), flip=False)
