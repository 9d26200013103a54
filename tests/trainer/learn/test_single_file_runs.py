"""Whole runs on base models of one file, and on quantised ones: what they train and export is what folders give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from atelier_contract.architectures import Architecture
from atelier_contract.inputs import BaseModelInput
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.methods.concept_model import ConceptModel
from learning import build_settings, build_workspace
from learning_results import Draws, Finished, run
from single_files import write_single_file
from tiny_models import WRITERS

SHORT: dict[str, Any] = {
    "steps": 2,
    "everySteps": 2,
    "snrGamma": 0,
    "warmupSteps": 0,
    "validation": {"samplerSteps": 1, "heldOut": "none"},
}


@pytest.fixture(scope="module", params=WRITERS)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """Each family."""
    found: Architecture = request.param
    return found


@pytest.fixture(scope="module")
def folder(architecture: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the family as a diffusers folder."""
    return WRITERS[architecture](tmp_path_factory.mktemp("folder"))


def train_on(base: Path, architecture: Architecture, scratch: Path, **changes: Any) -> Finished:
    """Train two steps on a base model."""
    workspace = build_workspace(scratch, build_settings(**SHORT | changes), base_model=base)
    told = {"architecture": architecture, "source": {"storage": {"path": "base-models/tiny"}}}
    asked = workspace.input.model_copy(update={"base_model": BaseModelInput.model_validate(told)})
    return run(scratch, workspace=replace(workspace, input=asked))


@pytest.fixture(scope="module")
def on_folder(architecture: Architecture, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run on the folder."""
    return train_on(folder, architecture, tmp_path_factory.mktemp("run") / "a")


def test_one_file_trains_to_the_same_bytes(
    architecture: Architecture, folder: Path, on_folder: Finished, tmp_path: Path
) -> None:
    """A run on the checkpoint of one file writes the very model file that a run on the folder writes."""
    single = write_single_file(folder, architecture, tmp_path / "single")
    finished = train_on(single, architecture, tmp_path / "a")
    assert finished.recorder.model(2).read_bytes() == on_folder.recorder.model(2).read_bytes()


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantised_base_trains_what_a_wide_one_takes(
    architecture: Architecture, folder: Path, on_folder: Finished, tmp_path: Path, bits: str
) -> None:
    """Trained on few bits, a concept model has the names, shapes and format of any other, and loads on a wide base."""
    finished = train_on(folder, architecture, tmp_path / "a", quantization=bits)
    lean, wide = load_file(finished.recorder.model(2)), load_file(on_folder.recorder.model(2))
    described = [{name: (t.shape, t.dtype) for name, t in tensors.items()} for tensors in (lean, wide)]
    assert described[0] == described[1]
    assert any(not torch.equal(lean[name], wide[name]) for name in wide)
    family = load_family(architecture, folder, torch.device("cpu"), torch.float32, "contiguous")
    method = ConceptModel(family, finished.settings, Draws(0))
    method.load({"ConceptModel": lean})
    loaded = method.export()[0].tensors
    assert all(torch.equal(loaded[name], lean[name]) for name in lean)
