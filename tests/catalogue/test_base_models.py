"""Mistakes with base models: pickled weights, torn files, paths that lead elsewhere, a place that is taken."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from desk import Desk
from journey import BASE_MODEL
from plugin import assert_refused

pytestmark = pytest.mark.cluster

PAGE = "docs/how-to/base-models.md"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def write_checkpoint(folder: Path) -> list[str]:
    """Write a pickled file under its usual name."""
    (folder / "model.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    return ["model.ckpt"]


def write_disguise(folder: Path) -> list[str]:
    """Write a pickled file under the name of a safe one."""
    (folder / "model.safetensors").write_bytes(pickle.dumps({"state_dict": {}}))
    return ["model.safetensors"]


def write_pickled_part(folder: Path) -> list[str]:
    """Write a model of which one part is pickled."""
    shutil.copytree(BASE_MODEL, folder / "model")
    (folder / "model" / WEIGHTS).rename(folder / "model" / "unet" / "diffusion_pytorch_model.bin")
    return ["model"]


def write_torn(folder: Path) -> list[str]:
    """Write a model of which one file ends early."""
    shutil.copytree(BASE_MODEL, folder / "model")
    whole = (BASE_MODEL / WEIGHTS).read_bytes()
    (folder / "model" / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    return ["model"]


def write_pictures(folder: Path) -> list[str]:
    """Write a folder of something else."""
    (folder / "model").mkdir()
    (folder / "model" / "01.txt").write_text("a teapot")
    return ["model"]


def write_sound(folder: Path) -> list[str]:
    """Write a sound model, to be sent to a place that cannot be."""
    shutil.copytree(BASE_MODEL, folder / "model")
    return ["model", "--path", "../other/model"]


MISTAKES: dict[str, tuple[Callable[[Path], list[str]], tuple[str, ...]]] = {
    "a .ckpt": (
        write_checkpoint,
        ("weights are pickled (model.ckpt), which run programs when loaded", "convert them to safetensors"),
    ),
    "a pickle in disguise": (write_disguise, ("not a safetensors file",)),
    "one pickled part": (write_pickled_part, ("unet", "pickled weights alone", "convert them to safetensors")),
    "a torn file": (write_torn, (WEIGHTS, "cut short or damaged", "fetch it again")),
    "a folder of something else": (
        write_pictures,
        ("no .safetensors file is in it", "name the folder of a diffusers model"),
    ),
    "a path above the store": (write_sound, ("--path '../other/model' cannot be used",)),
    "no such folder": (lambda folder: ["sd51"], ("sd51 is neither a folder nor a file",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_words(desk: Desk, tmp_path: Path, name: str) -> None:
    """The sentence names the file, says what is wrong with it and what to do, and nothing is sent."""
    write, says = MISTAKES[name]
    words = write(tmp_path)
    answer = replace(desk.terminal, folder=tmp_path).type("base-model", "push", *words)
    assert_refused(answer, 2, *says, page=PAGE)
    sent = desk.cluster.open_bucket().objects.filter(Prefix=f"atelier/{desk.namespace}/base-models/model")
    assert not list(sent)


def test_a_place_that_is_taken(desk: Desk, tmp_path: Path) -> None:
    """Another model is not written over one that runs may rest on."""
    desk.cluster.upload_folder(BASE_MODEL / "vae", f"atelier/{desk.namespace}/base-models/taken")
    shutil.copytree(BASE_MODEL, tmp_path / "taken")
    answer = replace(desk.terminal, folder=tmp_path).type("base-model", "push", "taken")
    says = ("base-models/taken holds another model already", "choose another --path")
    assert_refused(answer, 2, *says, page=PAGE)


def test_an_invokeai_that_is_no_address(desk: Desk) -> None:
    """An address without http is refused before anything is asked."""
    answer = desk.type("publish", "done", "--to", "invokeai", "--url", "invoke:9090")
    says = ("--url 'invoke:9090' is no address of a server", "write it like http://")
    assert_refused(answer, 2, *says, page="docs/commands.md#it-cannot-be-done-now")


def test_publishing_before_finalizing(desk: Desk) -> None:
    """What is not published cannot be installed, and the sentence says how it gets there."""
    answer = desk.type("publish", "teapot", "--to", "models")
    says = ("teapot has published nothing yet", "finalize first")
    assert_refused(answer, 2, *says, page="docs/commands.md#it-cannot-be-done-now")
