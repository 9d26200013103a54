"""What is said of pictures: several captions, shuffled tags, dropout; all of it known and encoded beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atelier_materials.footprint import TAG_ORDERS, count_orders
from atelier_trainer.learn import prompts as prompts_module
from atelier_trainer.learn.captions import PHRASINGS, Wording, shuffle_tags
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import MemoryCache, build_keys
from atelier_trainer.learn.pausing import Interrupted
from atelier_trainer.learn.prompts import PromptEncoder
from atelier_trainer.learn.texts import PictureTexts
from atelier_trainer.records import Picture
from learning import build_settings
from toy_family import MODEL, ToyFamily, ToyMethod, no_pause

TAGS = "tkxw, red, round, glossy, steel, lid"
KEYS = build_keys({}, MODEL)


def texts_of(*pictures: Picture, wording: Wording | None = None, **changes: Any) -> PictureTexts:
    """Return the texts of pictures, by default with the trigger `tkxw` and without dropout."""
    settings = build_settings(**{"captionDropout": 0, **changes})
    return PictureTexts(pictures, settings, wording or Wording("tkxw"), Draws(3))


def picture(*captions: str) -> Picture:
    """Return a picture with captions."""
    first, *others = captions or (None,)
    return Picture(Path("a.png"), "a" * 64, first, tuple(filter(None, others)))


def draw_many(texts: PictureTexts, index: int = 0) -> list[str]:
    """Return what is said of a picture in 200 steps."""
    return [texts.draw(step, 0, index) for step in range(200)]


@given(st.text(alphabet="ab ,", max_size=40), st.integers(0, 6), st.integers(0, TAG_ORDERS - 1))
def test_shuffling_keeps_the_tags(caption: str, keep: int, variant: int) -> None:
    """A shuffled caption has the same tags, the first of them in place."""
    before = [tag.strip() for tag in caption.split(",")]
    after = [tag.strip() for tag in shuffle_tags(caption, keep, variant).split(",")]
    assert (sorted(after), after[:keep]) == (sorted(before), before[:keep])


@pytest.mark.parametrize("caption", ["a teapot", "tkxw, red", "tkxw, red, round", "tkxw, red, round, lid", TAGS])
def test_no_more_orders_than_are_counted(caption: str) -> None:
    """What is estimated of a shuffled caption is not less than what is encoded."""
    listed = texts_of(picture(caption), shuffleTags=True).list_all()
    assert len(listed) <= count_orders(build_settings(shuffleTags=True), caption)


def test_variant_0_is_the_caption_itself() -> None:
    """The caption as the user wrote it is one of the variants, and the one that is measured."""
    assert shuffle_tags("a,b ,  c", 0, 0) == "a,b ,  c"


def test_variants_differ() -> None:
    """Of six tags, eight variants are eight orders."""
    assert len({shuffle_tags(TAGS, 1, variant) for variant in range(TAG_ORDERS)}) == TAG_ORDERS


def test_kept_tags_stay_in_front() -> None:
    """With keepTags 2 the first two tags are said first in every step, the others in several orders."""
    said = draw_many(texts_of(picture(TAGS), shuffleTags=True, keepTags=2))
    assert all(text.startswith("tkxw, red, ") for text in said)
    assert 2 < len(set(said)) <= TAG_ORDERS


def test_tags_stay_without_shuffling() -> None:
    """By default a caption is said as it is written."""
    assert set(draw_many(texts_of(picture(TAGS)))) == {TAGS}


def test_each_caption_has_its_turn() -> None:
    """Of three captions all are said, each about as often, with the trigger."""
    said = draw_many(texts_of(picture("one", "two", "three")))
    counts = {text: said.count(text) for text in set(said)}
    assert set(counts) == {"tkxw, one", "tkxw, two", "tkxw, three"}
    assert min(counts.values()) > 40


def test_dropout_says_nothing() -> None:
    """A quarter of the pictures are trained without their caption, trigger included."""
    said = draw_many(texts_of(picture("one"), captionDropout=0.25))
    assert 25 < said.count("") < 75


def test_one_caption_is_drawn_as_before() -> None:
    """Further captions and shuffling draw from their own purposes: without them, dropout falls where it fell."""
    settings = {"captionDropout": 0.3}
    plain, shuffled = texts_of(picture(TAGS), **settings), texts_of(picture(TAGS, "b"), **settings, shuffleTags=True)
    assert [text == "" for text in draw_many(plain)] == [text == "" for text in draw_many(shuffled)]


@pytest.mark.parametrize(
    ("pictures", "wording", "changes"),
    [
        ((picture(TAGS, "b, c"), picture("d")), Wording("tkxw"), {"shuffleTags": True, "captionDropout": 0.2}),
        ((picture(), picture("a teapot")), Wording("<tkxw>", PHRASINGS), {}),
        ((picture(), picture("  ")), Wording("tkxw"), {"captionDropout": 0.5}),
    ],
)
def test_every_text_is_known_beforehand(
    pictures: tuple[Picture, ...], wording: Wording, changes: dict[str, Any]
) -> None:
    """What is ever drawn is listed, and nothing else is; each once."""
    texts = texts_of(*pictures, wording=wording, **changes)
    drawn = {texts.draw(step, item, index) for step in range(300) for item, index in enumerate(range(len(pictures)))}
    listed = texts.list_all()
    assert drawn == set(listed)
    assert len(listed) == len(set(listed))


def test_texts_are_encoded_once() -> None:
    """After filling, no drawn text is encoded again."""
    family, texts = ToyFamily(), texts_of(picture(TAGS), shuffleTags=True, captionDropout=0.2)
    encoder = PromptEncoder(family, ToyMethod(), MemoryCache(), KEYS)
    assert encoder.fill(texts.list_all(), no_pause)
    before = len(family.encoded_texts)
    for step in range(50):
        encoder.encode([texts.draw(step, item, 0) for item in range(4)], step)
    assert len(family.encoded_texts) == before == len(texts.list_all())


def test_second_run_encodes_no_text() -> None:
    """What another run kept is read, bit for bit."""
    cache, family = MemoryCache(), ToyFamily()
    first = PromptEncoder(family, ToyMethod(), cache, KEYS)
    first.fill(["a", "b"], no_pause)
    second = PromptEncoder(family, ToyMethod(), cache, KEYS)
    second.fill(["a", "b"], no_pause)
    assert torch.equal(second.encode(["b", "a"])["text"], first.encode(["b", "a"])["text"])
    assert family.encoded_texts == ["a", "b"]


def test_text_is_kept_as_the_tokenizer_sees_it() -> None:
    """A method that rewrites texts shares nothing with one that does not, and is encoded as rewritten."""
    family = ToyFamily()
    PromptEncoder(family, ToyMethod(), MemoryCache(), KEYS).fill(["tkxw"], no_pause)
    assert family.encoded_texts == ["tk xw"]


def test_texts_beyond_the_space_are_encoded_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space for all, filling says so, and reading encodes with the same result."""
    monkeypatch.setattr(prompts_module, "NEAR_BYTES", 0)
    family = ToyFamily()
    encoder = PromptEncoder(family, ToyMethod(), MemoryCache(capacity_bytes=40), KEYS)
    assert not encoder.fill(["a", "b"], no_pause)
    assert torch.equal(encoder.encode(["b"])["text"], ToyFamily().encode_prompts(["b"])["text"])


def test_interruption_keeps_finished_texts() -> None:
    """What was encoded before SIGTERM is kept."""
    family, cache = ToyFamily(), MemoryCache()

    def leave_after_two() -> None:
        if len(family.encoded_texts) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        PromptEncoder(family, ToyMethod(), cache, KEYS).fill(["a", "b", "c"], leave_after_two)
    family.encoded_texts.clear()
    PromptEncoder(family, ToyMethod(), cache, KEYS).fill(["a", "b", "c"], no_pause)
    assert "a" not in family.encoded_texts


def test_live_texts_are_encoded_in_every_step() -> None:
    """While an encoder learns, nothing is kept: not in memory, not in the cache."""
    family, cache = ToyFamily(), MemoryCache()
    encoder = PromptEncoder(family, ToyMethod(learns_until=10), cache, KEYS)
    encoder.fill(["a"], no_pause)
    for step in range(3):
        encoder.encode(["a"], step)
    assert (family.encoded_texts, cache.read("texts", KEYS.of_text("a"))) == (["a"] * 3, None)


def test_equal_texts_of_a_batch_are_encoded_once() -> None:
    """While an encoder learns, rows that say the same share one encoding, each in its place."""
    family = ToyFamily()
    shared = PromptEncoder(family, ToyMethod(learns_until=10), MemoryCache(), KEYS).encode(["a", "b", "a", "b"], 0)
    apart = ToyFamily().encode_prompts(["a", "b", "a", "b"])
    assert (family.encoded_texts, shared["text"].tolist()) == (["a", "b"], apart["text"].tolist())


def test_equal_texts_are_encoded_apart_where_dropout_draws() -> None:
    """Adapter dropout in an encoder draws for each row, also for rows that say the same."""
    family = ToyFamily()
    method = ToyMethod(learns_until=10, is_stochastic=True)
    PromptEncoder(family, method, MemoryCache(), KEYS).encode(["a", "a"], 0)
    assert family.encoded_texts == ["a", "a"]


def test_texts_are_kept_in_memory_once_learning_has_ended() -> None:
    """After the last step in which an encoder learns, a text is encoded once more and held; never in the cache."""
    family, cache = ToyFamily(), MemoryCache()
    encoder = PromptEncoder(family, ToyMethod(learns_until=2), cache, KEYS)
    for step in range(6):
        encoder.encode(["a"], step)
    assert (family.encoded_texts, cache.read("texts", KEYS.of_text("a"))) == (["a"] * 3, None)


def test_a_step_has_one_phrasing() -> None:
    """Pictures without captions are said alike within a step, and each phrasing has its turn over the steps."""
    texts = texts_of(picture(), picture(), wording=Wording("<tkxw>", PHRASINGS))
    assert all(texts.draw(step, 0, 0) == texts.draw(step, 3, 1) for step in range(20))
    assert len({texts.draw(step, 0, 0) for step in range(300)}) == len(PHRASINGS)
