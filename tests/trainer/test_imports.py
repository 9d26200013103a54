"""What starting the trainer loads: torch only where something is trained."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEARNING_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate")


@pytest.mark.parametrize("module", ["atelier_trainer.__main__", "atelier_trainer.records", "atelier_trainer.settings"])
def test_torch_is_not_loaded(module: str) -> None:
    """A fresh interpreter that imports everything but the learning half has none of its libraries."""
    check = f"import sys, {module}; print([name for name in {LEARNING_LIBRARIES} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
