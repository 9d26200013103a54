"""Puts the two script folders of the playground on the import path: they are commands, not installed packages."""

import sys
from pathlib import Path

import pytest

PLAYGROUND = Path(__file__).resolve().parents[2] / "playground"
sys.path[:0] = [str(PLAYGROUND / "base-model"), str(PLAYGROUND / "datasets")]


@pytest.fixture(scope="session")
def playground() -> Path:
    """The playground's folder."""
    return PLAYGROUND
