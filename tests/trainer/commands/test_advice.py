"""Advice is true: what it says of captions is what training does with them."""

from __future__ import annotations

import pytest

from atelier_contract.manifests import DatasetItem
from atelier_trainer.commands.advice import list_advice
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from learning import build_settings, build_told

FACTS = BaseModelFacts(files=(), weights_bytes=0, denoiser_parameters=0)


@pytest.mark.parametrize(("caption", "is_there"), [("a party of %d hats", False), ("some art of %d hats", True)])
def test_a_prefix_within_a_word_is_put_before_it(caption: str, is_there: bool) -> None:
    """Only a prefix that stands in a caption as a word of its own is said to be there already: only it is left out."""
    asked = build_told(build_settings(conceptModel={"captionPrefix": "art"}))
    items = [
        DatasetItem(path=f"{i}.png", bytes=1, sha256=f"{i:064x}", width=64, height=64, caption=caption % i)
        for i in range(12)
    ]
    told = " ".join(list_advice(asked, items, FACTS))
    assert ("captionPrefix stands in 12 of 12 captions already" in told) == is_there
