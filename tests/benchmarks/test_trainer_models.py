"""The benchmark's base models: the published shapes, in folders that a family of the trainer loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from trainer_models import NARROW, NARROW_FLUX, NARROW_XL, QUARTER, REAL, Shape, build_denoiser, write_model
from transformers import CLIPTokenizer

from atelier_contract.architectures import Architecture

PUBLISHED = {
    Architecture.STABLE_DIFFUSION_1: 859_520_964,
    Architecture.STABLE_DIFFUSION_XL: 2_567_463_684,
    Architecture.FLUX_1: 11_901_408_320,
}
"""Parameters of the denoisers as their authors published them."""


@pytest.mark.parametrize("architecture", Architecture)
def test_a_real_denoiser_has_the_published_number_of_parameters(architecture: Architecture) -> None:
    """Another depth or width would be another benchmark."""
    denoiser = build_denoiser(REAL[architecture], "meta")
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == PUBLISHED[architecture]


@pytest.mark.parametrize(("narrow", "real"), [(shape, REAL[shape.architecture]) for shape in (NARROW, NARROW_XL)])
def test_a_narrow_unet_has_the_real_ones_layers(narrow: Shape, real: Shape) -> None:
    """Operations are counted at the real depth: the same modules by name, only their widths differ."""
    names = [{name for name, _ in build_denoiser(shape, "meta").named_modules()} for shape in (narrow, real)]
    assert names[0] == names[1]


def test_the_narrow_flux_has_the_real_ones_blocks() -> None:
    """19 double and 38 single blocks."""
    names = [
        {name for name, _ in build_denoiser(shape, "meta").named_modules()}
        for shape in (NARROW_FLUX, REAL[Architecture.FLUX_1])
    ]
    assert names[0] == names[1]


def test_a_model_is_written_once(tmp_path: Path) -> None:
    """The second call finds the first one's folder; nothing unfinished is left beside it."""
    folder = write_model(NARROW, tmp_path)
    before = folder.stat().st_mtime_ns
    assert write_model(NARROW, tmp_path) == folder
    assert (folder.stat().st_mtime_ns, [path.name for path in tmp_path.iterdir()]) == (before, [folder.name])


def test_the_vocabulary_is_clips_in_size_and_spells_every_text(tmp_path: Path) -> None:
    """The example's optimiser holds a table of 49,408 words; captions are read as letters of it."""
    small = replace(NARROW, name="vocabulary", vocabulary=QUARTER.vocabulary)
    tokenizer = CLIPTokenizer.from_pretrained(write_model(small, tmp_path) / "tokenizer", local_files_only=True)
    ids = tokenizer("a teapot").input_ids
    assert (len(tokenizer), ids[0], ids[-1], len(ids)) == (49_408, 49_406, 49_407, 2 + len("ateapot"))
