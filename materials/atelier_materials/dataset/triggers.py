"""The prompt trigger in a caption: whether it is there, how often, and what was probably meant to be it.

A trigger is the caption prefix of a concept model: words that call what it has learned. Training puts it before every
caption that does not hold it as words of its own, exactly as it is written; encoders do not tell case apart, but a
person who writes it in two ways has usually mistyped one. Pure text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

WORD = re.compile(r"[\w<>-]+")
SHORTEST_MISSPELT = 4
"""Letters: in shorter triggers one letter makes another word."""
FEWEST_CAPTIONS = 5
"""From which a habit can be seen."""
HABIT_PERCENT = 80
"""Of the captions that hold a word by which the others seem to lack it."""
VOWELS = re.compile(r"[aeiouyAEIOUY]")


def put_trigger(trigger: str, text: str) -> str:
    """Return the text with the trigger before it, unless the text holds it already as a word of its own.

    `TKXW` and `a teapot` give `TKXW, a teapot`; an empty text gives the trigger alone. `art` is not in `a party`.
    """
    if not trigger or count_trigger(trigger, text):
        return text
    return f"{trigger}, {text}" if text else trigger


def count_trigger(trigger: str, text: str) -> int:
    """Return how often a text holds the trigger as words of their own."""
    return len(re.findall(rf"(?<!\w){re.escape(trigger)}(?!\w)", text))


def find_misspelt(trigger: str, text: str, is_common: Callable[[str], bool]) -> str | None:
    """Return words of a text that are nearly the trigger, or None.

    Nearly is another case, or one letter more, less, changed or swapped with its neighbour, where that makes no common
    word and no plural.

    Args:
        trigger: what is meant.
        text: a caption.
        is_common: tells whether a word is an ordinary one.
    """
    length = len(WORD.findall(trigger))
    for words in _list_runs(WORD.findall(text), length):
        if words == trigger:
            continue
        if words.casefold() == trigger.casefold():
            return words
        near = len(trigger) >= SHORTEST_MISSPELT and _is_one_edit(words.casefold(), trigger.casefold())
        if near and not is_common(words) and words.rstrip("s") != trigger.rstrip("s"):
            return words
    return None


def guess_trigger(captions: Sequence[str], is_common: Callable[[str], bool]) -> str | None:
    """Return a word that most captions hold, not all, and that looks made to be a trigger; or None.

    So looks a word that the encoders do not know as a whole, or that has no vowel, or is all capitals with a digit or
    two letters at least.
    """
    if len(captions) < FEWEST_CAPTIONS:
        return None
    counts: Counter[str] = Counter(word for caption in captions for word in set(WORD.findall(caption)))
    for word, count in counts.most_common():
        if count * 100 < HABIT_PERCENT * len(captions):
            return None
        if count < len(captions) and _looks_made(word, is_common):
            return word
    return None


def _looks_made(word: str, is_common: Callable[[str], bool]) -> bool:
    if len(word) < 2 or not any(sign.isalpha() for sign in word):
        return False
    return word.isupper() or not VOWELS.search(word) or not is_common(word)


def _list_runs(words: Sequence[str], length: int) -> Iterator[str]:
    for start in range(len(words) - length + 1):
        yield " ".join(words[start : start + length])


def _is_one_edit(one: str, other: str) -> bool:
    """Tell whether one letter more, less, changed or swapped makes one word the other."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    first, second = one[start:], other[start:]
    return (
        first[1:] == second[1:]
        or first[1:] == second
        or first == second[1:]
        or (first[:2] == second[1::-1] and first[2:] == second[2:])
    )
