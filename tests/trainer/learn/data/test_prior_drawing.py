"""Prior pictures that the base model draws: once, from their own seeds, and never twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atelier_trainer.learn.encodings import MemoryCache, build_keys
from atelier_trainer.learn.pausing import Interrupted
from atelier_trainer.learn.priors import draw_prior_pictures
from atelier_trainer.records import Picture
from learning import build_settings
from toy_family import MODEL, ToyFamily, no_pause

KEYS = build_keys({}, MODEL)


def draw(
    scratch: Path, family: ToyFamily, cache: MemoryCache, pause: Any = no_pause, **changes: Any
) -> tuple[Picture, ...]:
    """Return three drawn pictures of a teapot, in a scratch folder of their own."""
    scratch.mkdir()
    prior = {"weight": 1, "prompt": "a teapot", "pictures": 3} | changes.pop("prior", {})
    settings = build_settings(conceptModel={"prior": prior}, **changes)
    return draw_prior_pictures(
        family, family.encode_prompts, settings, cache=cache, keys=KEYS, scratch=scratch, pause=pause
    )


def digests(pictures: tuple[Picture, ...]) -> list[str]:
    """Return what the pictures are."""
    return [picture.sha256 for picture in pictures]


def test_as_many_as_asked(tmp_path: Path) -> None:
    """Three different pictures are drawn, square, without a caption of their own."""
    pictures = draw(tmp_path / "a", ToyFamily(), MemoryCache())
    assert len(set(digests(pictures))) == 3
    assert {picture.caption for picture in pictures} == {None}


def test_later_attempt_draws_nothing(tmp_path: Path) -> None:
    """A later attempt finds the pictures in the cache."""
    family, cache = ToyFamily(), MemoryCache()
    first = draw(tmp_path / "a", family, cache)
    assert digests(draw(tmp_path / "b", family, cache)) == digests(first)
    assert family.drawn == 3


def test_lost_cache_draws_the_same_again(tmp_path: Path) -> None:
    """Without the cache the same pictures are drawn, bit for bit."""
    first = draw(tmp_path / "a", ToyFamily(), MemoryCache())
    assert digests(draw(tmp_path / "b", ToyFamily(), MemoryCache())) == digests(first)


def test_interruption_keeps_what_was_drawn(tmp_path: Path) -> None:
    """What was drawn before SIGTERM is not drawn again."""
    family, cache = ToyFamily(), MemoryCache()

    def leave_in_the_third() -> None:
        if family.drawn == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        draw(tmp_path / "a", family, cache, leave_in_the_third)
    draw(tmp_path / "b", family, cache)
    assert family.drawn == 4


@pytest.mark.parametrize(
    "change", [{"prior": {"prompt": "a cup"}}, {"seed": 8}, {"validation": {"guidance": 5}}, {"resolution": 128}]
)
def test_other_settings_are_other_pictures(tmp_path: Path, change: dict[str, Any]) -> None:
    """Another prompt, seed, guidance or size finds nothing of what was drawn before."""
    family, cache = ToyFamily(), MemoryCache()
    draw(tmp_path / "a", family, cache)
    draw(tmp_path / "b", family, cache, **change)
    assert family.drawn == 6


def test_no_prior_draws_nothing(tmp_path: Path) -> None:
    """A run without prior preservation draws nothing."""
    settings, family = build_settings(), ToyFamily()
    drawn = draw_prior_pictures(
        family, family.encode_prompts, settings, cache=MemoryCache(), keys=KEYS, scratch=tmp_path, pause=no_pause
    )
    assert (drawn, family.drawn) == ((), 0)
