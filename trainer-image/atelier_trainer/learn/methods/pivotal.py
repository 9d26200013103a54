"""Pivotal training: new words and a concept model in one run (as cloneofsimo's `lora` and diffusers' advanced scripts).

The words learn at their own rate for the first part of the steps and then stand still, while the adapters learn to the
end: the words find the place that the adapters then make room at. A checkpoint has two files that are used together,
the concept model first. Adds nothing of its own to either part.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from atelier_contract.dataset import ModelType
from atelier_contract.settings import PivotalSettings, Settings
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import EMBEDDING_FILE, ModelTensors, RateGroup
from atelier_trainer.learn.methods.concept_model import ConceptModel
from atelier_trainer.learn.methods.embedding import add_words
from atelier_trainer.learn.parameters import FlatParameters


class Pivotal:
    """The adapters and the new words of one run."""

    type: ModelType = "ConceptModel"

    def __init__(self, family: Family, settings: Settings, asked: PivotalSettings, draws: Draws) -> None:
        """Add words to the family's encoders and adapters to its denoiser."""
        self._words = add_words(family, asked)
        self._concept = ConceptModel(family, settings, draws)
        self._rate = asked.learning_rate
        self._until_step = -(-settings.steps * asked.until_percent // 100)
        self.wording = self._concept.wording
        self.is_stochastic = self._concept.is_stochastic

    @property
    def has_live_text(self) -> bool:
        """Whether text changes from step to step: it does."""
        return True

    def learns_text_at(self, step: int) -> bool:
        """Return whether the words still learn, or a text encoder is adapted."""
        return step < self._until_step or self._concept.learns_text_at(step)

    def named_parameters(self) -> dict[str, Tensor]:
        """Return the adapters and the rows."""
        return self._concept.named_parameters() | self._words.flat.views

    def flat_parameters(self) -> list[FlatParameters]:
        """Return what both parts lie in."""
        return [*self._concept.flat_parameters(), self._words.flat]

    def rate_groups(self) -> list[RateGroup]:
        """Return the adapters' groups and then the rows, which stop early."""
        return [*self._concept.rate_groups(), self._words.group(self._rate, self._until_step)]

    def set_training(self, *, on: bool) -> None:
        """Switch adapter dropout on or off."""
        self._concept.set_training(on=on)

    def rewrite(self, text: str) -> str:
        """Return the text with the placeholder spelled as its tokens."""
        return self._words.rewrite(text)

    def export(self) -> list[ModelTensors]:
        """Return the concept model, then the embedding."""
        return [*self._concept.export(), self._words.export(EMBEDDING_FILE)]

    def load(self, models: Mapping[ModelType, Mapping[str, Tensor]]) -> None:
        """Set both parts; a concept model that had no embedding is given a new one."""
        self._concept.load_adapters(models.get("ConceptModel", {}))
        if "Embedding" in models:
            self._words.load(models["Embedding"])
