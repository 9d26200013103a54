"""Tokens of captions, counted as the families' encoders count them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atelier_contract.architectures import Architecture
from atelier_materials.dataset.tokens import (
    build_clip_vocabulary,
    count_tokens,
    find_limit,
    is_common_word,
    read_clip_merges,
)

TEXTS = [
    "a photo of a cat",
    "TKXW, a red teapot on a wooden table, soft light, 35mm",
    "it's the studio's own; they'll see it -- 100% new!",
    "Grün, blåbær 東京 ☕🫖  two   spaces\tand a tab",
    "",
]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that transformers reads CLIP's tokenizer from."""
    folder = tmp_path_factory.mktemp("clip")
    merges = read_clip_merges()
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    (folder / "vocab.json").write_text(json.dumps(build_clip_vocabulary(merges.splitlines())))
    return folder


@pytest.mark.parametrize("text", TEXTS)
def test_clip_counts_as_transformers_does(clip_folder: Path, text: str) -> None:
    """A text has as many tokens here as in the tokenizer that training uses, marks aside."""
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(clip_folder, local_files_only=True)
    assert count_tokens(text, Architecture.STABLE_DIFFUSION_XL) == len(theirs(text).input_ids) - 2


@pytest.mark.parametrize(("text", "tokens"), [("a photo of a cat", 7), ("", 0)])
def test_t5_counts(text: str, tokens: int) -> None:
    """FLUX.1 counts by T5's pieces: the published ids of a known text, without the mark of its end."""
    assert count_tokens(text, Architecture.FLUX_1) == tokens


@pytest.mark.parametrize(
    ("architecture", "limit"),
    [(Architecture.STABLE_DIFFUSION_1, 75), (Architecture.STABLE_DIFFUSION_XL, 75), (Architecture.FLUX_1, 511)],
)
def test_limits(architecture: Architecture, limit: int) -> None:
    """CLIP reads 77 tokens with two marks, T5 512 with one."""
    assert find_limit(architecture) == limit


@pytest.mark.parametrize(("word", "common"), [("teapot", True), ("TKXW", False), ("red", True), ("wombatling", False)])
def test_common_words(word: str, common: bool) -> None:
    """A word that CLIP met often is one token; an invented one is several."""
    assert is_common_word(word) is common
