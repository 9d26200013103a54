"""How a base model is read: in the background, and whole or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file

from atelier_contract.architectures import Architecture
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.families import loading
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.families.registry import load_family
from tiny_models import WRITERS

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"
DENOISERS = {
    Architecture.STABLE_DIFFUSION_1: "unet",
    Architecture.STABLE_DIFFUSION_XL: "unet",
    Architecture.FLUX_1: "transformer",
}


@pytest.fixture(params=list(Architecture), ids=lambda architecture: architecture.value)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """Each family."""
    found: Architecture = request.param
    return found


@pytest.fixture
def folder(architecture: Architecture, tmp_path: Path) -> Path:
    """A model of the family, to be broken."""
    return WRITERS[architecture](tmp_path / "base")


def load(architecture: Architecture, folder: Path) -> Family:
    return load_family(architecture, folder, CPU, torch.float32, "contiguous")


def change_weights(folder: Path, architecture: Architecture, **changes: torch.Tensor | None) -> None:
    """Rewrite the denoiser's weights with tensors changed, or without them."""
    path = folder / DENOISERS[architecture] / WEIGHTS
    tensors = load_file(path) | {name: tensor for name, tensor in changes.items() if tensor is not None}
    save_file({name: tensor for name, tensor in tensors.items() if changes.get(name, tensor) is not None}, path)


def test_the_denoiser_is_read_when_it_is_asked_for(
    architecture: Architecture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loaded family has not opened its denoiser's weights: they are read when they may take their place, and once."""
    opened, right = [], loading.stream_tensors

    def look(*told: Any) -> Iterator[tuple[str, torch.Tensor]]:
        opened.append(told)
        yield from right(*told)

    monkeypatch.setattr(loading, "stream_tensors", look)
    family = load(architecture, folder)
    assert not opened
    for _ in range(2):
        family.start_denoiser()
    assert family.denoiser is family.denoiser
    assert len(opened) == 1


def test_the_denoiser_is_read_while_encoders_work(
    architecture: Architecture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and pictures are encoded while the denoiser's first tensor is still awaited."""
    begun, may_read, right = threading.Event(), threading.Event(), loading.stream_tensors

    def wait(*told: Any) -> Iterator[tuple[str, torch.Tensor]]:
        begun.set()
        assert may_read.wait(60)
        yield from right(*told)

    monkeypatch.setattr(loading, "stream_tensors", wait)
    family = load(architecture, folder)
    family.start_denoiser()
    try:
        assert begun.wait(60)
        assert family.encode_prompts(["a star"])["text"].shape[0] == 1
        assert family.encode_picture(torch.zeros(1, 3, 64, 64)).mean.shape[-2:] == (8, 8)
    finally:
        may_read.set()
    assert not any(parameter.is_meta for parameter in family.denoiser.parameters())


def test_every_tensor_is_the_files(architecture: Architecture, folder: Path) -> None:
    """The denoiser's tensors are those of its file, in memory of their own and not in the mapped file."""
    tensors = load_file(folder / DENOISERS[architecture] / WEIGHTS)
    denoiser = load(architecture, folder).denoiser
    found = denoiser.state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert {tensor.data_ptr() % 64 for tensor in found.values()} == {0}, "vectorised sums begin where vectors do"
    assert not any(parameter.requires_grad for parameter in denoiser.parameters())
    assert not denoiser.training


def test_shards_are_read(tmp_path: Path) -> None:
    """Weights in several files with an index make the same model as in one."""
    whole = WRITERS[Architecture.FLUX_1](tmp_path / "base")
    expected = load(Architecture.FLUX_1, whole).denoiser.state_dict()
    FluxTransformer2DModel.from_pretrained(whole / "transformer", local_files_only=True).save_pretrained(
        tmp_path / "shards", max_shard_size="50KB"
    )
    (whole / "transformer" / WEIGHTS).unlink()
    for path in (tmp_path / "shards").iterdir():
        path.rename(whole / "transformer" / path.name)
    assert len(list((whole / "transformer").glob("*.safetensors"))) > 1
    found = load(Architecture.FLUX_1, whole).denoiser.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_whole_file_goes_before_shards(tmp_path: Path) -> None:
    """Where both are named the one file is read, as it is the one that is fetched."""
    base = WRITERS[Architecture.FLUX_1](tmp_path / "base")
    index = {"weight_map": {"anything": "missing-00001-of-00002.safetensors"}}
    (base / "transformer" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    assert load(Architecture.FLUX_1, base).denoiser.state_dict()


def test_a_missing_tensor_is_refused(architecture: Architecture, folder: Path) -> None:
    """A denoiser that lacks a tensor is not filled up with random numbers."""
    name = next(iter(load_file(folder / DENOISERS[architecture] / WEIGHTS)))
    change_weights(folder, architecture, **{name: None})
    with pytest.raises(BaseModelUnusable, match="does not load"):
        _ = load(architecture, folder).denoiser


def test_a_strange_tensor_is_refused(architecture: Architecture, folder: Path) -> None:
    """A tensor that the model has no place for says that the config is not the weights' own."""
    change_weights(folder, architecture, strange=torch.zeros(1))
    with pytest.raises(BaseModelUnusable, match="strange"):
        _ = load(architecture, folder).denoiser


def test_broken_weights_are_refused(architecture: Architecture, folder: Path) -> None:
    """A file that was cut off is refused, whenever the denoiser is asked for."""
    path = folder / DENOISERS[architecture] / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    family = load(architecture, folder)
    for _ in range(2):
        with pytest.raises(BaseModelUnusable, match="does not load"):
            _ = family.denoiser


@pytest.mark.parametrize("part", ["vae", "text_encoder", "tokenizer", "scheduler", "denoiser"])
def test_a_missing_part_is_refused(architecture: Architecture, folder: Path, part: str) -> None:
    """Each part that is not there is refused at once, before anything is encoded."""
    (folder / (DENOISERS[architecture] if part == "denoiser" else part)).rename(folder / "elsewhere")
    with pytest.raises(BaseModelUnusable, match="does not load"):
        load(architecture, folder)


def test_another_class_is_refused(architecture: Architecture, folder: Path) -> None:
    """A denoiser of another class is refused by its config."""
    config = folder / DENOISERS[architecture] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "SomethingElse"}))
    with pytest.raises(BaseModelUnusable, match="SomethingElse"):
        load(architecture, folder)
