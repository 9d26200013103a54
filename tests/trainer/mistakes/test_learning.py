"""Mistakes that only the loaded base model or the started run shows: each refused by one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from atelier_contract.settings import Settings
from atelier_materials.errors import AtelierError, InvalidInput
from atelier_trainer.errors import Diverged
from atelier_trainer.learn.optimizer import check_optimizer
from learning import EMBEDDING, build_settings, build_workspace
from learning_results import run
from mistakes import assert_one_sentence

LAYER = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
FOREIGN = {
    f"{LAYER}.lora_down.weight": torch.zeros(4, 64),
    f"{LAYER}.lora_up.weight": torch.zeros(64, 4),
    f"{LAYER}.alpha": torch.tensor(4.0),
}


def start_from(tmp_path: Path, tensors: Mapping[str, torch.Tensor], settings: Settings) -> str:
    """Return how a run that starts from these tensors is refused."""
    path = tmp_path / "start.safetensors"
    save_file(dict(tensors), path)
    workspace = build_workspace(tmp_path / "a", settings, start_from=(path,), start_from_sha256="0" * 64)
    with pytest.raises(AtelierError) as refusal:
        run(workspace.scratch, workspace=workspace)
    return str(refusal.value)


def export(tmp_path: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Return the model of a run of one step."""
    finished = run(tmp_path / "export", steps=1, everySteps=1, warmupSteps=0, **changes)
    return load_file(finished.recorder.model(1))


def test_start_from_another_rank(tmp_path: Path) -> None:
    """A start of another rank is refused with both ranks."""
    tensors = export(tmp_path, conceptModel={"rank": 4})
    assert_one_sentence(
        start_from(tmp_path, tensors, build_settings(conceptModel={"rank": 8})),
        "startFrom",
        "has rank 4, this run 8",
        "set conceptModel.rank",
    )


def test_start_from_other_targets(tmp_path: Path) -> None:
    """A start that adapts other layers is refused with both numbers."""
    message = start_from(tmp_path, FOREIGN, build_settings())
    assert_one_sentence(message, "startFrom", "adapts 1 layers", "conceptModel.targets")


def test_start_from_an_embedding(tmp_path: Path) -> None:
    """An embedding cannot be a concept model's start."""
    message = start_from(tmp_path, {"emb_params": torch.zeros(3, 768)}, build_settings())
    assert_one_sentence(message, "startFrom", "embedding")


def test_start_from_another_number_of_vectors(tmp_path: Path) -> None:
    """An embedding of another size is refused with what it holds."""
    message = start_from(tmp_path, {"emb_params": torch.zeros(2, 768)}, build_settings(embedding=EMBEDDING))
    assert_one_sentence(message, "startFrom", "embedding.vectors")


def test_start_from_something_else(tmp_path: Path) -> None:
    """A file that is no model is refused by name."""
    path = tmp_path / "start.safetensors"
    path.write_bytes(b"<html>")
    workspace = build_workspace(tmp_path / "a", build_settings(), start_from=(path,), start_from_sha256="0" * 64)
    with pytest.raises(InvalidInput) as refusal:
        run(workspace.scratch, workspace=workspace)
    assert_one_sentence(str(refusal.value), "startFrom", "start.safetensors", "not a safetensors file")


def test_rate_far_too_high(tmp_path: Path) -> None:
    """A run whose loss runs away ends with the step and the setting to lower; the rate is beyond any input's."""
    settings = build_settings(steps=40, everySteps=10, warmupSteps=0).model_copy(update={"learning_rate": 1e4})
    told = build_workspace(tmp_path / "a", build_settings())
    asked = told.input.model_copy(update={"settings": settings})
    with pytest.raises(Diverged) as end:
        run(told.scratch, workspace=replace(told, input=asked))
    assert_one_sentence(str(end.value), "step", "learningRate")


def test_eight_bit_moments_without_a_gpu() -> None:
    """8-bit AdamW on a CPU says where it would run, and what to set."""
    with pytest.raises(InvalidInput) as refusal:
        check_optimizer(build_settings(optimizer="AdamW8bit"), torch.device("cpu"))
    assert_one_sentence(str(refusal.value), "tuning.optimizer AdamW8bit", "set it to AdamW")


def test_phrase_without_a_token(tmp_path: Path) -> None:
    """An initial phrase of which the tokenizer makes nothing is refused."""
    with pytest.raises(InvalidInput) as refusal:
        run(tmp_path / "a", embedding=EMBEDDING | {"initialPhrase": "   "})
    assert_one_sentence(str(refusal.value), "embedding.initialPhrase", "has no token", "use a word")


def test_one_picture_trains(tmp_path: Path) -> None:
    """A dataset of one picture and a batch larger than the dataset are odd, but train to the end."""
    workspace = build_workspace(tmp_path / "a", build_settings(steps=2, everySteps=2, batchSize=4))
    finished = run(workspace.scratch, workspace=replace(workspace, pictures=workspace.pictures[:1]))
    assert finished.outcome.complete
