"""How many tokens a caption is, by the very vocabularies of the families' text encoders.

In: texts. Out: counts, and what an encoder reads at most. The vocabularies lie in `data/`; the trainer writes them
beside base models that lack them. Reading one takes a tenth of a second, so it waits for the first long caption.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from atelier_contract.architectures import Architecture

DATA = files("atelier_materials") / "data"
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_LENGTH, T5_LENGTH = 77, 512
"""What the encoders read, marks of start and end among it: the published configs."""
MOST_CLIP_TOKENS = CLIP_LENGTH - 2
MOST_T5_TOKENS = T5_LENGTH - 1
"""T5 marks the end alone."""
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What CLIP takes for words, before it merges: endings, letters, single digits, other signs (its published code)."""


def find_limit(architecture: Architecture) -> int:
    """Return how many tokens of a caption a family's longest-reading encoder sees."""
    return MOST_T5_TOKENS if architecture is Architecture.FLUX_1 else MOST_CLIP_TOKENS


def count_tokens(text: str, architecture: Architecture) -> int:
    """Return the tokens of a text, without marks, as a family's longest-reading encoder counts them."""
    tokenizer = _open_t5() if architecture is Architecture.FLUX_1 else _open_clip()
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def is_common_word(word: str) -> bool:
    """Return whether CLIP has one token for a word, as for all that were frequent in the captions of its training."""
    return len(_open_clip().encode(word, add_special_tokens=False).ids) == 1


def read_clip_merges() -> str:
    """Return CLIP's merges, one a line."""
    return (DATA / "clip_merges.txt").read_text(encoding="utf-8")


def read_t5_tokenizer() -> bytes:
    """Return T5's `tokenizer.json`."""
    return gzip.decompress((DATA / "t5_tokenizer.json.gz").read_bytes())


def build_clip_vocabulary(merges: list[str]) -> dict[str, int]:
    """Return CLIP's 49,408 tokens: 256 bytes, the same at a word's end, each merge, start and end of the text."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    # Bytes that do not print stand for themselves shifted behind the first 256 letters, in order.
    others = [256 + number for number in range(256 - len(printable))]
    letters = [chr(code) for code in [*printable, *others]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    return {token: number for number, token in enumerate([*tokens, START, END])}


@cache
def _open_clip() -> Tokenizer:
    lines = read_clip_merges().splitlines()
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=build_clip_vocabulary(lines),
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=END,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


@cache
def _open_t5() -> Tokenizer:
    return Tokenizer.from_buffer(read_t5_tokenizer())
