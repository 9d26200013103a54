"""Finished runs that several test modules look at; each is trained once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from learning import EMBEDDING
from learning_results import Finished, run
from tiny_models import write_flux, write_stable_diffusion_xl

EVERYTHING_RANDOM: dict[str, Any] = {
    "conceptModel": {"dropout": 0.2, "textEncoderLearningRate": 1e-3, "targets": "attentionMlpConv"},
    "flip": True,
    "captionDropout": 0.3,
}


@pytest.fixture(scope="session")
def tiny_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion XL model with random weights."""
    return write_stable_diffusion_xl(tmp_path_factory.mktemp("tiny-xl"))


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX.1 model like dev, with random weights."""
    return write_flux(tmp_path_factory.mktemp("tiny-flux"))


@pytest.fixture(scope="session")
def tiny_schnell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX.1 model like schnell, with random weights."""
    return write_flux(tmp_path_factory.mktemp("tiny-schnell"), schnell=True)


@pytest.fixture(scope="session")
def concept_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A concept model on attention and MLP, 6 steps, checkpoints at 0, 3 and 6."""
    return run(tmp_path_factory.mktemp("concept") / "a")


@pytest.fixture(scope="session")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A concept model with every random part in use: dropout, mirrored pictures, text encoder, convolutions."""
    return run(tmp_path_factory.mktemp("random") / "a", **EVERYTHING_RANDOM)


@pytest.fixture(scope="session")
def embedding_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An embedding of three vectors."""
    return run(tmp_path_factory.mktemp("embedding") / "a", embedding=EMBEDDING, captionDropout=0, weightDecay=0)
