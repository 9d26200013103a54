"""What of a folder is a base model, what is refused before anything is sent, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atelier_contract.architectures import Architecture
from atelier_materials.store.protocol import StoredObject
from atelier_studio.actions.base_models import build_path, build_rows, choose_files, order_files, recognise
from atelier_studio.edges.base_model_push import read_model
from atelier_studio.edges.upload import FileUnreadable
from atelier_studio.errors import BadRequest
from checkout import CHECKOUT
from pushed_folders import lock_file, write_files

WEIGHTS = "diffusion_pytorch_model.safetensors"
FOLDER = ("model_index.json", "unet/config.json", f"unet/{WEIGHTS}", "tokenizer/merges.txt", "tokenizer_2/spiece.model")


def write_weights(size: int = 8, claimed: int | None = None, **names: str) -> bytes:
    """Return a safetensors file of one tensor that may claim to be longer than it is."""
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, claimed or size]}
    header = json.dumps({names.get("name", "weight"): entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def test_folder_goes_as_it_is() -> None:
    """Weights, configs and vocabularies of a diffusers folder are sent."""
    assert choose_files(FOLDER).going == tuple(sorted(FOLDER))


def test_what_stays_behind() -> None:
    """Pickles beside safetensors stay behind, like pictures and hidden files."""
    choice = choose_files([*FOLDER, "unet/diffusion_pytorch_model.bin", "old.ckpt", ".git/a.json", "teaser.png"])
    assert choice.pickled == ("old.ckpt", "unet/diffusion_pytorch_model.bin")
    assert choice.unknown == (".git/a.json", "teaser.png")


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["model_index.json", "unet/model.bin"], "its weights are pickled \\(unet/model.bin\\)"),
        (["v1-5.ckpt"], "its weights are pickled \\(v1-5.ckpt\\)"),
        (["readme.txt"], "no .safetensors file is in it"),
        ([*FOLDER, "vae/model.bin"], "vae holds pickled weights alone"),
        ([f"sd15/{path}" for path in FOLDER], "sd15 in it looks like one"),
    ],
)
def test_what_is_no_model(paths: list[str], says: str) -> None:
    """Pickled weights and folders that are no model are refused with what to do."""
    with pytest.raises(BadRequest, match=says):
        choose_files(paths)


@pytest.mark.parametrize("part", ["safety_checker", "feature_extractor"])
def test_parts_that_nobody_trains_with(part: str) -> None:
    """A safety checker whose weights are pickled does not stop a push; it stays behind."""
    assert choose_files([*FOLDER, f"{part}/pytorch_model.bin"]).pickled == (f"{part}/pytorch_model.bin",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x02}q\x00.", "is not a safetensors file"),
        (b"", "is not a safetensors file"),
        (write_weights(8, claimed=80), "it was cut short or damaged"),
        (write_weights() + b"more", "it was cut short or damaged"),
        ((20).to_bytes(8, "little") + b"x" * 40, "its header cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "its header cannot be read"),
    ],
)
def test_damaged_weights(tmp_path: Path, data: bytes, says: str) -> None:
    """Weights that are pickled under another name, cut short or damaged are refused before anything is sent."""
    (tmp_path / "sd15.safetensors").write_bytes(data)
    with pytest.raises(BadRequest, match=says):
        read_model(tmp_path / "sd15.safetensors")


def test_one_file(tmp_path: Path) -> None:
    """One file goes under its own name, with what a key does not take replaced; its tensors tell the family."""
    data = write_weights(name="conditioner.embedders.1.model.x")
    source = write_files(tmp_path, {"SDXL base (1.0).safetensors": data}) / "SDXL base (1.0).safetensors"
    model = read_model(source)
    assert [file.path for file in model.files] == ["SDXL-base-1.0-.safetensors"]
    assert model.architecture is Architecture.STABLE_DIFFUSION_XL


def test_real_folder() -> None:
    """The playground's own base model is one."""
    model = read_model(CHECKOUT / "playground" / "base-model" / "weights")
    assert (model.architecture, model.files[-1].path) == (Architecture.STABLE_DIFFUSION_1, "model_index.json")


def test_index_comes_last() -> None:
    """What makes a folder a model is sent last, so that a torn push is none."""
    assert order_files(FOLDER)[-1] == "model_index.json"


@pytest.mark.parametrize(
    ("asked", "source", "path"),
    [
        (None, "sd15", "base-models/sd15"),
        (None, "SDXL base.safetensors", "base-models/SDXL-base"),
        ("sd15", "x", "base-models/sd15"),
        ("base-models/team/sd15", "x", "base-models/team/sd15"),
        ("/sd15/", "x", "base-models/sd15"),
    ],
)
def test_paths(asked: str | None, source: str, path: str) -> None:
    """A model lies in the room of base models, under the name that is asked for or its own."""
    assert build_path(asked, source) == path


@pytest.mark.parametrize("asked", ["../secrets", "a b", "base-models", ".hidden"])
def test_bad_paths(asked: str) -> None:
    """A path that no key takes, or that names no model, is refused."""
    with pytest.raises(BadRequest, match="--path"):
        build_path(asked, "x")


@pytest.mark.parametrize(
    ("pipeline", "tensor", "found"),
    [
        ("StableDiffusionPipeline", "", Architecture.STABLE_DIFFUSION_1),
        ("FluxPipeline", "", Architecture.FLUX_1),
        (None, "cond_stage_model.transformer.text_model.x", Architecture.STABLE_DIFFUSION_1),
        (None, "model.diffusion_model.double_blocks.0.img_attn.norm.x", Architecture.FLUX_1),
        ("KandinskyPipeline", "unet.x", None),
    ],
)
def test_families(pipeline: str | None, tensor: str, found: Architecture | None) -> None:
    """A family is told by its pipeline's class or its tensors' names, or not at all."""
    assert recognise(pipeline, [tensor]) is found


def test_list() -> None:
    """Models are listed by folder, each once: with an index, as single files, and while a push is not over."""
    keys = [f"sd15/{path}" for path in FOLDER] + ["team/xl/sdxl.safetensors", f"torn/unet/{WEIGHTS}", "notes.txt"]
    stored = [StoredObject(f"p/art/base-models/{key}", 1_000_000, 0.0) for key in keys]
    assert build_rows(stored, "p/art/base-models") == [
        ("base-models/sd15", "5", "5.0 MB"),
        ("base-models/team/xl", "1", "1.0 MB"),
        ("base-models/torn", "1", "1.0 MB"),
    ]


@pytest.mark.parametrize("name", [f"unet/{WEIGHTS}", "model_index.json"])
def test_model_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A model's file that may not be read is told by its name."""
    files = {"model_index.json": b"{}", "unet/config.json": b"{}", f"unet/{WEIGHTS}": write_weights()}
    folder = write_files(tmp_path / "sd15", files)
    lock_file(monkeypatch, folder / name)
    with pytest.raises(FileUnreadable, match=f"{name} cannot be read"):
        read_model(folder)
