"""The sample dataset is what its script draws, and keeps what it promises to the benchmark."""

import shutil

import draw_teapots
import pytest
from PIL import Image
from tiny_base import captions


@pytest.fixture
def copied_dataset(playground, tmp_path):
    """A copy of the committed datasets that a test may spoil."""
    root = tmp_path / "datasets"
    shutil.copytree(playground / "datasets", root)
    return root


def test_committed_files_are_what_the_script_draws(playground):
    """Every picture and caption in the tree equals a fresh drawing."""
    assert draw_teapots.list_differences(playground / "datasets") == []


def test_a_changed_pixel_is_told(copied_dataset):
    """One pixel that differs in a PNG is named with its file."""
    path = copied_dataset / "teapots" / "teapot-01.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.putpixel((3, 3), (1, 2, 3))
    picture.save(path)
    assert [line.split(":")[0] for line in draw_teapots.list_differences(copied_dataset)] == ["teapots/teapot-01.png"]


def test_another_picture_behind_a_jpeg_is_told(copied_dataset):
    """The tolerance for JPEG does not let another teapot through."""
    folder = copied_dataset / "teapots"
    shutil.copy(folder / "teapot-06.jpg", folder / "teapot-12.jpg")
    assert [line.split(":")[0] for line in draw_teapots.list_differences(copied_dataset)] == ["teapots/teapot-12.jpg"]


def test_a_stray_file_is_told(copied_dataset):
    """A file that the script does not draw has no place in a folder that is trained on."""
    (copied_dataset / "teapots" / "notes.txt").write_text("a cup")
    assert draw_teapots.list_differences(copied_dataset) == ["teapots/notes.txt: not drawn by this script"]


def test_backgrounds_are_the_base_models_colours():
    """The dataset's room and the base model's room name the same colours with the same values."""
    assert draw_teapots.BACKGROUNDS == captions.COLOURS


def test_the_concepts_colours_are_far_from_every_colour_of_the_base():
    """Teal and pink differ from each base colour by at least 60 levels in some channel."""
    for colour in (draw_teapots.TEAL, draw_teapots.PINK):
        for known in captions.COLOURS.values():
            assert max(abs(a - b) for a, b in zip(colour, known, strict=True)) >= 60


def test_held_out_pictures_have_backgrounds_that_training_lacks():
    """Two backgrounds are held out altogether, and all eight are measured."""
    backgrounds = {"teapots": set(), "teapots-heldout": set()}
    for sample in draw_teapots.list_samples():
        backgrounds[sample.folder].add(sample.background)
    assert backgrounds["teapots-heldout"] - backgrounds["teapots"] == draw_teapots.UNTRAINED_BACKGROUNDS
