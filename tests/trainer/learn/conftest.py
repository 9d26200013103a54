"""Finished runs that several test modules look at; each is trained once a session."""

from __future__ import annotations

from typing import Any

import pytest

from learning import EMBEDDING
from learning_results import Finished, run

EVERYTHING_RANDOM: dict[str, Any] = {
    "conceptModel": {"dropout": 0.2, "textEncoderLearningRate": 1e-3, "targets": "attentionMlpConv"},
    "flip": True,
    "captionDropout": 0.3,
}


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
