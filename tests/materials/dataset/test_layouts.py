"""Six layouts on small folders: which one is recognised, what it says of each picture, and what is named as wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atelier_contract.dataset import DatasetLayout
from atelier_contract.reasons import Finding
from atelier_materials.dataset import layouts
from atelier_materials.dataset.layouts import detect_layout
from atelier_materials.errors import DatasetUnusable
from dataset_folders import Files, captions, read

TABLE = '{"file_name": "a.png", "text": "one"}\n{"file_name": "b/c.png", "text": ["two", "three"]}\n'
TOML = """
[general]
caption_extension = ".txt"

[[datasets]]
  [[datasets.subsets]]
  image_dir = "photos"
  num_repeats = 5
  class_tokens = "tkxw teapot"

  [[datasets.subsets]]
  image_dir = ".\\\\drawings\\\\"
  caption_prefix = "a drawing of"
  caption_suffix = "on paper"
"""


EXAMPLES: dict[DatasetLayout, Files] = {
    DatasetLayout.PLAIN: {"a.png": "", "b/c.png": "", "notes.md": ""},
    DatasetLayout.SIDECARS: {"a.png": "", "a.txt": "one", "b/c.jpg": "", "b/c.caption": "two"},
    DatasetLayout.TABLE: {"a.png": "", "b/c.png": "", "metadata.jsonl": TABLE},
    DatasetLayout.KOHYA: {"img/10_tkxw teapot/a.png": "", "img/1_cup/b.png": "", "img/1_cup/b.txt": "a blue cup"},
    DatasetLayout.KOHYA_TOML: {"set.toml": TOML, "photos/a.png": "", "drawings/b.png": "", "drawings/b.txt": "a cup"},
    DatasetLayout.IMAGE_FOLDER: {"train/cat_breed/a.png": "", "train/dog/b.png": "", "test/dog/c.png": ""},
}
READ: dict[DatasetLayout, dict[str, tuple[int, tuple[str, ...]]]] = {
    DatasetLayout.PLAIN: {"a.png": (1, ()), "b/c.png": (1, ())},
    DatasetLayout.SIDECARS: {"a.png": (1, ("one",)), "b/c.jpg": (1, ("two",))},
    DatasetLayout.TABLE: {"a.png": (1, ("one",)), "b/c.png": (1, ("two", "three"))},
    DatasetLayout.KOHYA: {
        "img/10_tkxw teapot/a.png": (10, ("tkxw teapot",)),
        "img/1_cup/b.png": (1, ("a blue cup",)),
    },
    DatasetLayout.KOHYA_TOML: {
        "photos/a.png": (5, ("tkxw teapot",)),
        "drawings/b.png": (1, ("a drawing of a cup on paper",)),
    },
    DatasetLayout.IMAGE_FOLDER: {"train/cat_breed/a.png": (1, ("cat breed",)), "train/dog/b.png": (1, ("dog",))},
}


@pytest.mark.parametrize("layout", DatasetLayout)
def test_layout_is_recognised_by_names(layout: DatasetLayout) -> None:
    """The names of the files tell the layout."""
    assert detect_layout(EXAMPLES[layout]) == layout


@pytest.mark.parametrize("told", [True, False], ids=["told", "detected"])
@pytest.mark.parametrize("layout", DatasetLayout)
def test_layout_is_read(tmp_path: Path, layout: DatasetLayout, told: bool) -> None:
    """Each picture has the repeats and captions that its layout gives it, whether that was detected or told."""
    listing, _ = read(tmp_path, EXAMPLES[layout], layout if told else None)
    seen = {picture.file.path: (picture.repeats, picture.captions) for picture in listing.pictures}
    assert (listing.layout, seen) == (layout, READ[layout])


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (DatasetLayout.PLAIN, "recognised as a plain folder: 2 pictures, no captions"),
        (DatasetLayout.SIDECARS, "recognised as pictures with a caption file of the same name: 2 pictures, 2 with"),
        (DatasetLayout.TABLE, "recognised as pictures with a table of captions (metadata.jsonl): 2 pictures"),
        (DatasetLayout.KOHYA, "recognised as kohya's folders (10_tkxw teapot, 1_cup): 2 pictures, 2 with a caption"),
        (DatasetLayout.KOHYA_TOML, "recognised as a kohya dataset described by a TOML (set.toml): 2 pictures"),
        (DatasetLayout.IMAGE_FOLDER, "recognised as an image folder (train/, names of class folders): 2 pictures"),
    ],
)
def test_layout_is_said_in_one_sentence(tmp_path: Path, layout: DatasetLayout, words: str) -> None:
    """What was recognised is said with what was seen."""
    listing, _ = read(tmp_path, EXAMPLES[layout])
    assert listing.sentence.startswith(words)


def test_folder_names_in_the_sentence_are_shown_safely(tmp_path: Path) -> None:
    """A folder that would turn the line around does not."""
    assert layouts._name(["1_a\u202eb"]) == "1_a\\u202eb"


MIXED: Files = {
    "3_cup/a.png": "",
    "3_cup/b.png": "",
    "3_cup/b.txt": "beside",
    "metadata.jsonl": '{"file_name": "3_cup/a.png", "text": "table"}\n{"file_name": "3_cup/b.png", "text": "table"}\n',
}


@pytest.mark.parametrize(
    ("layout", "a", "b"),
    [
        (None, (3, ("table",)), (3, ("beside",))),
        (DatasetLayout.PLAIN, (1, ()), (1, ())),
        (DatasetLayout.SIDECARS, (1, ()), (1, ("beside",))),
        (DatasetLayout.TABLE, (1, ("table",)), (1, ("table",))),
        (DatasetLayout.KOHYA, (3, ("cup",)), (3, ("beside",))),
        (DatasetLayout.IMAGE_FOLDER, (1, ("table",)), (1, ("table",))),
    ],
)
def test_named_layout_reads_nothing_else(tmp_path: Path, layout: DatasetLayout | None, a: Any, b: Any) -> None:
    """What is detected reads all that lies there, files beside pictures first; what was named reads its own."""
    listing, _ = read(tmp_path, MIXED, layout)
    assert [(picture.repeats, picture.captions) for picture in listing.pictures] == [a, b]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (DatasetLayout.SIDECARS, "no NAME.txt or NAME.caption lies beside a picture"),
        (DatasetLayout.TABLE, "no metadata.jsonl, metadata.csv or metadata.parquet lies there"),
        (DatasetLayout.KOHYA, "no folder with pictures is named NN_words"),
        (DatasetLayout.KOHYA_TOML, "no TOML with [[datasets]] lies at the top"),
    ],
)
def test_named_layout_that_is_not_there(tmp_path: Path, layout: DatasetLayout, words: str) -> None:
    """A layout of which nothing lies there is refused, with what is missing and what it looks like."""
    with pytest.raises(DatasetUnusable) as refused:
        read(tmp_path, EXAMPLES[DatasetLayout.PLAIN], layout)
    assert words in str(refused.value)
    assert "looks like Plain" in str(refused.value)


def test_too_many_files_are_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of far too many files is refused before they fill the memory."""
    monkeypatch.setattr("atelier_materials.dataset.listing.MAX_FILES", 1)
    with pytest.raises(DatasetUnusable, match="more than 1 files"):
        read(tmp_path, {"a.png": "", "b.png": ""})


def test_unfit_names_are_left_out(tmp_path: Path) -> None:
    """A picture, a caption or a mask whose name is not fit to keep is named, fit to be printed."""
    files: Files = {"a.png": "", "b\n.png": "", "c\u202e.txt": "x", "d" * 240 + ".mask.png": ""}
    listing, found = read(tmp_path, files)
    assert [picture.file.path for picture in listing.pictures] == ["a.png"]
    assert found == {
        Finding.NAME_UNSAFE: ["b\\x0a.png", "c\\u202e.txt"],
        Finding.NAME_TOO_LONG: ["d" * 240 + ".mask.png"],
    }


def test_masks_go_with_their_pictures(tmp_path: Path) -> None:
    """A mask is no picture, and one without a picture is told apart."""
    listing, _ = read(tmp_path, {"a.png": "", "a.mask.png": "", "b.mask.png": ""})
    assert [(picture.file.path, picture.mask and picture.mask.path) for picture in listing.pictures] == [
        ("a.png", "a.mask.png")
    ]
    assert [mask.path for mask in listing.stray_masks] == ["b.mask.png"]


def test_splits_other_than_train_are_left_out(tmp_path: Path) -> None:
    """What somebody keeps to test with is not trained on, and named."""
    files: Files = {"train/a.png": "", "validation/b.png": "", "test/c.png": "", "train/metadata.jsonl": TABLE}
    listing, found = read(tmp_path, files)
    assert captions(listing) == {"train/a.png": ("one",)}
    assert found[Finding.SPLIT_LEFT_OUT] == ["test/c.png", "validation/b.png"]


def test_class_folders_without_splits(tmp_path: Path) -> None:
    """Class folders at the top have to be named as such: a folder's name is no caption otherwise."""
    files: Files = {"red-cups/a.png": "", "b.png": ""}
    assert captions(read(tmp_path, files)[0]) == {"b.png": (), "red-cups/a.png": ()}
    told = read(tmp_path, files, DatasetLayout.IMAGE_FOLDER)[0]
    assert captions(told) == {"b.png": (), "red-cups/a.png": ("red cups",)}


def test_kohyas_regularisation_is_left_out(tmp_path: Path) -> None:
    """Pictures of the kind, which kohya keeps in reg/, are not learned as the subject."""
    listing, found = read(tmp_path, {"img/5_tkxw cup/a.png": "", "reg/1_cup/b.png": ""})
    assert [picture.file.path for picture in listing.pictures] == ["img/5_tkxw cup/a.png"]
    assert found == {Finding.REGULARISATION_LEFT_OUT: ["reg/1_cup/b.png"]}


def subset(lines: str, general: str = "") -> str:
    return f"[general]\n{general}\n[[datasets]]\n[[datasets.subsets]]\n{lines}\n"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('image_dir = "/data/me/photos"', "image_dir is a path of one machine"),
        ("image_dir = 'C:\\photos'", "image_dir is a path of one machine"),
        ('image_dir = "../photos"', "image_dir leads out of the folder"),
        ("num_repeats = 2", "image_dir is missing"),
        ('image_dir = "p"\nnum_repeats = 0', "num_repeats must be a whole number"),
        ('image_dir = "p"\nnum_repeats = "many"', "num_repeats must be a whole number"),
        ("image_dir = 7", "image_dir must be text"),
        ('image_dir = "p"\nmetadata_file = "m.json"', "captions of a metadata_file are not read"),
        ('image_dir = "elsewhere"', "no picture lies in elsewhere"),
    ],
)
def test_subset_that_cannot_be_used_is_named(tmp_path: Path, lines: str, complaint: str) -> None:
    """A subset that names no folder here is named with what is wrong, and its pictures are not guessed."""
    listing, found = read(tmp_path, {"set.toml": subset(lines), "p/a.png": ""})
    assert listing.pictures == []
    assert [complaint in line for line in found[Finding.LAYOUT_CONFIG_UNUSABLE]] == [True]


BROKEN = ("[[datasets", "datasets = 3", "[[datasets]]\nsubsets = 3", "general = 1\n[[datasets]]\n")


@pytest.mark.parametrize("text", [*BROKEN, "a = [" * 5000, "a = " + "{a = " * 5000, f"a = {'1' * 5000}"])
def test_broken_configuration_is_named(tmp_path: Path, text: str) -> None:
    """A TOML that cannot be read is named; the folder is read by what else lies there."""
    listing, found = read(tmp_path, {"set.toml": text, "2_cup/a.png": ""})
    assert (listing.layout, list(found)) == (DatasetLayout.KOHYA, [Finding.LAYOUT_CONFIG_UNUSABLE])


@pytest.mark.parametrize("text", ["[training]\nsteps = 3", f'prompt = "{"." * 400}"', "# x\n" * 70_000])
def test_toml_of_something_else_is_passed_over(tmp_path: Path, text: str) -> None:
    """The settings of a training beside the pictures, of any size, are no dataset's configuration."""
    listing, found = read(tmp_path, {"train.toml": text, "a.png": ""})
    assert (listing.layout, found) == (DatasetLayout.PLAIN, {})


def test_settings_of_a_training_are_named(tmp_path: Path) -> None:
    """What kohya's TOML says of the training has its place in the TrainingJob, which is told."""
    text = subset('image_dir = "p"\nkeep_tokens = 2', "shuffle_caption = true\nrandom_crop = true")
    _, found = read(tmp_path, {"set.toml": text, "p/a.png": ""})
    assert found == {
        Finding.LAYOUT_SETTING_NOT_READ: [
            "set.toml keep_tokens (tuning.keepTags)",
            "set.toml random_crop",
            "set.toml shuffle_caption (tuning.shuffleTags)",
        ]
    }


def test_regularisation_subset_is_left_out(tmp_path: Path) -> None:
    """A subset of regularisation pictures is named and not trained on."""
    text = subset('image_dir = "p"\n[[datasets.subsets]]\nimage_dir = "r"\nis_reg = true')
    listing, found = read(tmp_path, {"set.toml": text, "p/a.png": "", "r/b.png": ""})
    assert [picture.file.path for picture in listing.pictures] == ["p/a.png"]
    assert found == {Finding.REGULARISATION_LEFT_OUT: ["r/b.png"]}


def test_subset_reads_its_folder_alone(tmp_path: Path) -> None:
    """As in kohya, folders below are not part of a subset, and caption files have the extension that it says."""
    text = subset('image_dir = "p"\ncaption_extension = "caption"')
    files: Files = {
        "set.toml": text,
        "p/a.png": "",
        "p/a.txt": "no",
        "p/b.png": "",
        "p/b.caption": "yes",
        "p/q/c.png": "",
    }
    assert captions(read(tmp_path, files)[0]) == {"p/a.png": (), "p/b.png": ("yes",)}


@pytest.mark.parametrize(("said", "used"), [(".caption", "yes"), (".txt", "no")])
def test_extension_that_the_configuration_says_decides(tmp_path: Path, said: str, used: str) -> None:
    """Of two caption files of one picture, the one that the TOML means is its caption, whichever is preferred else."""
    text = subset(f'image_dir = "p"\nclass_tokens = "words"\ncaption_extension = "{said}"')
    listing, found = read(tmp_path, {"set.toml": text, "p/a.png": "", "p/a.txt": "no", "p/a.caption": "yes"})
    assert (captions(listing), found) == ({"p/a.png": (used,)}, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a." * 301 + "a = 1\n" + subset('image_dir = "p"'), "line 1 has over 300 dots"),
        (f'# \u2028\n[datasets.{"a." * 160}"\u2028".{"a." * 160}a]\n', "line 2 has over 300 dots"),
        (subset('image_dir = "p"') + f"# {'é' * 131_072}\n", "it is over 256 KiB"),
        (subset(f'image_dir = "p"\nclass_tokens = "{"x" * 4_001}"'), "class_tokens is over 4,000 characters"),
    ],
    ids=["key", "table", "file", "words"],
)
def test_configuration_that_costs_too_much_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """What would take long to parse, or much memory for each picture, is refused with what it is."""
    _, found = read(tmp_path, {"set.toml": text, "p/a.png": ""})
    assert [complaint in line for line in found[Finding.LAYOUT_CONFIG_UNUSABLE]] == [True]


def test_comment_of_dots_costs_nothing(tmp_path: Path) -> None:
    """A line of dots between the parts of a TOML is no key, and the rest counts."""
    text = f"# {'.' * 400}\n" + subset('image_dir = "p"\nnum_repeats = 2')
    listing, found = read(tmp_path, {"set.toml": text, "p/a.png": ""})
    assert ([picture.repeats for picture in listing.pictures], found) == ([2], {})


def test_folder_named_twice_counts_once(tmp_path: Path) -> None:
    """A folder that several datasets name, for several resolutions, is shown as the first says."""
    text = subset('image_dir = "p"\nnum_repeats = 2') + subset('image_dir = "p"\nnum_repeats = 9').partition("\n\n")[2]
    listing, _ = read(tmp_path, {"set.toml": text, "p/a.png": ""})
    assert [picture.repeats for picture in listing.pictures] == [2]


@pytest.mark.parametrize(
    ("folder", "telling"),
    [
        ("10_tkxw teapot", True),
        ("train", True),
        ("Test", True),
        ("reg", True),
        ("teapots", False),
        ("2026_summer", False),
    ],
)
def test_folder_whose_name_tells_of_its_pictures(folder: str, telling: bool) -> None:
    """Unpacking takes off the folder that an archive was made of, but not one that has repeats, words or a split."""
    assert layouts.is_telling(folder) is telling
