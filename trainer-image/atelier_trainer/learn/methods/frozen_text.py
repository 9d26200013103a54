"""The text side of a run in which no text encoder changes, known before there is a denoiser to build its method on.

Its texts can be encoded while nothing else of the base model is in memory yet, which is what FLUX.1 needs: T5 beside
the denoiser would take more than training ever does.
"""

from __future__ import annotations

from atelier_contract.settings import Settings
from atelier_materials.footprint import learns_text


class FrozenText:
    """Texts as they are, for encoders as they came."""

    has_live_text = False
    is_stochastic = False

    def learns_text_at(self, step: int) -> bool:
        """Return False: nothing in a text encoder ever learns."""
        del step
        return False

    def rewrite(self, text: str) -> str:
        """Return the text unchanged."""
        return text


def find_frozen_text(settings: Settings) -> FrozenText | None:
    """Return the text side of the method that the settings ask for, or None where it adds to a text encoder."""
    return None if learns_text(settings) else FrozenText()
