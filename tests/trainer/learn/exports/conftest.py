"""Exported files of every family and method; each is written once a session, and read once in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from atelier_contract.architectures import Architecture
from exported import CASES, SIDE, TEXT, Exported, build_shelf

READER = Path(__file__).parents[3] / "support" / "read_published.py"
Find = Callable[[Architecture, str], Exported]
Elsewhere = dict[tuple[Architecture, str], dict[str, Tensor]]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return a function that exports a method on a tiny base of a family."""
    return build_shelf(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def wide_shelf(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return the same on bases whose text is as wide as the published ones', by which tools tell families apart."""
    return build_shelf(tmp_path_factory.mktemp("wide"), is_wide=True)


@pytest.fixture(scope="session")
def elsewhere(
    shelf: Find, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Architecture, str], dict[str, Tensor]]:
    """What a fresh process reads with diffusers' loaders, by case; `base` is what it says without any file."""
    folder = tmp_path_factory.mktemp("read")
    cases = [*CASES, *((architecture, "base") for architecture in Architecture)]
    jobs = []
    for architecture, method in cases:
        exported = shelf(architecture, "attention" if method == "base" else method)
        files = {} if method == "base" else exported.files
        jobs.append(
            {
                "base": str(exported.base),
                "architecture": str(architecture),
                "model": str(files.get("ConceptModel", "")),
                "embedding": str(files.get("Embedding", "")),
                "placeholder": "<tkxw>",
                "text": TEXT,
                "side": SIDE,
                "out": str(folder / f"{architecture}-{method}.safetensors"),
            }
        )
    # A process of its own: it has to find everything in the files.
    subprocess.run([sys.executable, str(READER), json.dumps(jobs)], check=True, capture_output=True, timeout=600)
    return {case: load_file(job["out"]) for case, job in zip(cases, jobs, strict=True)}
