"""What is said of each picture in each step: one of a bounded number of texts, all of them known before the first.

A picture has one or more captions; each may be said in several orders of its tags; without any, a phrasing of the
placeholder is said; sometimes nothing is. All are functions of the caption and a small number, so that every text a run
can read is listed here and encoded once, however it is drawn.

In: pictures and settings. Out: texts. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atelier_contract.settings import Settings
from atelier_materials.footprint import TAG_ORDERS
from atelier_trainer.learn.captions import Wording, shuffle_tags
from atelier_trainer.learn.draws import Draws
from atelier_trainer.records import Picture


@dataclass(frozen=True)
class PictureTexts:
    """The texts of a run's training pictures."""

    pictures: Sequence[Picture]
    """In the run's order."""
    settings: Settings
    wording: Wording
    draws: Draws

    def draw(self, step: int, item: int, index: int) -> str:
        """Return what is said of a picture as one item of a step's batch.

        A phrasing is one of the step, not of the item: pictures without captions are said alike, and an encoder that
        learns reads one text for all of them. Over the steps every phrasing comes as often.
        """
        if self.draws.happens(self.settings.caption_dropout, "caption dropout", step, item):
            return ""
        captions = list_captions(self.pictures[index])
        if not captions:
            phrasings = len(self.wording.phrasings)
            return self.wording.word(None, self.draws.pick(phrasings, "phrasing", step) if phrasings else 0)
        caption = captions[self.draws.pick(len(captions), "caption", step, item) if len(captions) > 1 else 0]
        if self.settings.shuffle_tags:
            caption = shuffle_tags(caption, self.settings.keep_tags, self.draws.pick(TAG_ORDERS, "tags", step, item))
        return self.wording.word(caption)

    def list_all(self) -> list[str]:
        """Return every text that `draw` can return, each once."""
        nothing = [""] if self.settings.caption_dropout > 0 else []
        return list(dict.fromkeys([*nothing, *(text for picture in self.pictures for text in self._list(picture))]))

    def _list(self, picture: Picture) -> Iterator[str]:
        captions = list_captions(picture)
        if not captions:
            for pick in range(max(1, len(self.wording.phrasings))):
                yield self.wording.word(None, pick)
        for caption in captions:
            for variant in range(TAG_ORDERS if self.settings.shuffle_tags else 1):
                yield self.wording.word(shuffle_tags(caption, self.settings.keep_tags, variant))


def list_captions(picture: Picture) -> list[str]:
    """Return a picture's captions that say anything."""
    told = [picture.caption or "", *picture.other_captions]
    return [caption.strip() for caption in told if caption.strip()]
