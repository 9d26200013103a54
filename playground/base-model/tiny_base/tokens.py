"""The tokenizer: CLIP's byte-level pair encoding with a vocabulary that knows the captions' words and nothing else.

In: the words of `captions`. Out: a folder in Stable Diffusion 1.5's own layout (vocab.json, merges.txt, two configs).
A known word is one token; anything else falls apart into bytes, so every text can be read.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from tiny_base.captions import COLOURS, GRAMMAR, POSITIONS, SHAPES, SIZES

WORDS = (*GRAMMAR, *SHAPES, *COLOURS, *SIZES, *POSITIONS)
MAX_LENGTH = 77
"""Tokens a caption has, as in CLIP: begin, text, then end tokens up to this length."""

END_OF_WORD = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the tokenizer's files into `folder` and return it as read back from there."""
    merges = _list_merges()
    letters = _list_byte_letters()
    pieces = list(dict.fromkeys(first + second for first, second in merges))
    vocabulary = [*letters, *(letter + END_OF_WORD for letter in letters), *pieces, BEGIN, END]
    specials = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_LENGTH, "do_lower_case": True,
              "errors": "replace", "add_prefix_space": False, **specials}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({token: number for number, token in enumerate(vocabulary)}, ensure_ascii=False), encoding="utf-8"
    )
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(specials), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def _list_byte_letters() -> list[str]:
    """List GPT-2's 256 printable letters for bytes, in CLIP's order: the printable bytes first, then the rest."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def _list_merges() -> list[tuple[str, str]]:
    """List the merges that build each word from its left end: r+e, re+d</w>."""
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        parts = _merge_parts([*word[:-1], word[-1] + END_OF_WORD], merges)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
    return merges


def _merge_parts(parts: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Apply the merges that exist already, earliest first, as the tokenizer will."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        ranked = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not ranked:
            return parts
        place = min(ranked)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
