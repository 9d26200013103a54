"""The arrows between the rooms, and what is loaded when a side starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from checkout import CHECKOUT, PACKAGES, list_modules

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate")


def list_loaded(*modules: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def name_modules(package: str, *, without: str = "") -> list[str]:
    """Name the importable modules of a package, but for those of one room."""
    parts = [path.relative_to(PACKAGES[package].parent).with_suffix("").parts for path in list_modules(package)]
    return [
        ".".join(part for part in module if part != "__init__")
        for module in parts
        if module[-1] != "__main__" and (not without or without not in module)
    ]


def test_arrows_are_kept() -> None:
    """Every import contract of pyproject.toml holds."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", script, "--no-cache"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.parametrize(
    ("package", "without"), [("atelier_contract", ""), ("atelier_operator", ""), ("atelier_studio", "")]
)
def test_side_starts_without_tensors(package: str, without: str) -> None:
    """Whatever of this side is imported, no library of the training half comes with it."""
    assert not list_loaded(*name_modules(package, without=without)) & {*HEAVY, "numpy"}


def test_trainer_checks_its_input_without_tensors() -> None:
    """All of the trainer but `learn` is there in a moment, so that wrong input costs no minute of loading."""
    assert not list_loaded(*name_modules("atelier_trainer", without="learn")) & set(HEAVY)


def test_operator_starts_without_a_store() -> None:
    """The operator holds no storage credentials, and no library that could use them."""
    assert not list_loaded(*name_modules("atelier_operator")) & {"boto3", "botocore"}
