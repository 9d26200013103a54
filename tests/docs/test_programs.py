"""Every Python program and call on the pages, executed in a fresh process on tiny models that were published alike."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from atelier_contract.architectures import Architecture
from checkout import CHECKOUT
from exported import Exported, export, write_base
from pages import DOCS, list_blocks
from walks import list_stretches

USING = DOCS / "using-models.md"
CALL = re.compile(r"`(pipe\.load_[^`]+)`")
LORA = {
    "StableDiffusionPipeline": Architecture.STABLE_DIFFUSION_1,
    "StableDiffusionXLPipeline": Architecture.STABLE_DIFFUSION_XL,
    "FluxPipeline": Architecture.FLUX_1,
}
OPEN = """
import torch
from diffusers import {pipeline}
folder = "."
pipe = {pipeline}.from_pretrained("base", dtype=torch.float32)
"""
CALLED = "\nassert pipe.tokenizer.convert_tokens_to_ids('<tkxw>') != pipe.tokenizer.unk_token_id\n"
ADAPTED = "\nassert pipe.get_active_adapters()\n"


def lay_out(folder: Path, architecture: Architecture, method: str) -> Exported:
    """Write a tiny base and a published file as the page names them."""
    base = write_base(architecture, folder / "base")
    exported = export(architecture, method, base, folder / "out")
    (weights,) = exported.files.values()
    weights.rename(folder / "NAME.safetensors")
    return exported


def run_program(folder: Path, program: str) -> None:
    """Run a program in a folder. It must succeed."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def find_call(name: str) -> str:
    """Return the one call of a name in the page's table."""
    (found,) = {call for call in CALL.findall(USING.read_text(encoding="utf-8")) if name in call}
    return found


def test_programs_are_all_run() -> None:
    """A Python block stands on a page that is walked, or is the one that is run here."""
    walked = {block.name for stretch in list_stretches([DOCS / "how-to" / "download.md"]) for block in stretch.blocks}
    found = {block.name for block in list_blocks("python")}
    here = {name for name in found if name.startswith(USING.relative_to(CHECKOUT).as_posix())}
    assert len(here) == 1
    assert found - walked == here


def test_embedding_of_two_encoders_is_loaded(tmp_path: Path) -> None:
    """The program for Stable Diffusion XL loads an embedding's rows into both encoders."""
    lay_out(tmp_path, Architecture.STABLE_DIFFUSION_XL, "embedding")
    (block,) = [one for one in list_blocks("python") if one.page.endswith("using-models.md")]
    run_program(tmp_path, OPEN.format(pipeline="StableDiffusionXLPipeline") + block.text + CALLED)


@pytest.mark.parametrize("pipeline", LORA)
def test_call_for_concept_models_loads(tmp_path: Path, pipeline: str) -> None:
    """The one call that the table of tools gives for diffusers loads a concept model of each family."""
    lay_out(tmp_path, LORA[pipeline], "attention")
    run_program(tmp_path, OPEN.format(pipeline=pipeline) + find_call("load_lora_weights") + ADAPTED)


def test_call_for_embeddings_loads(tmp_path: Path) -> None:
    """The one call that the table gives for an embedding of Stable Diffusion 1 loads it under its placeholder."""
    lay_out(tmp_path, Architecture.STABLE_DIFFUSION_1, "embedding")
    call = find_call("load_textual_inversion")
    run_program(tmp_path, OPEN.format(pipeline="StableDiffusionPipeline") + call + CALLED)
