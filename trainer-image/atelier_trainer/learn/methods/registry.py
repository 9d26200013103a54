"""Which method a run's settings ask for."""

from __future__ import annotations

from atelier_contract.settings import Settings
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.concept_model import ConceptModel
from atelier_trainer.learn.methods.embedding import Embedding
from atelier_trainer.learn.methods.pivotal import Pivotal


def build_method(family: Family, settings: Settings, draws: Draws) -> Method:
    """Add what the settings ask to train to a family and return it."""
    if settings.embedding is not None:
        return Embedding(family, settings)
    pivotal = settings.concept_model.embedding if settings.concept_model else None
    if pivotal is not None:
        return Pivotal(family, settings, pivotal, draws)
    return ConceptModel(family, settings, draws)
