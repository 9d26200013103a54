"""What a picture is called in training: trigger and caption, or a phrasing where there is no caption.

In: captions as the dataset has them. Out: the text that the encoders read. Pure text; knows no model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from atelier_materials.dataset.triggers import put_trigger

PHRASINGS = (
    "{}",
    "a picture of {}",
    "a photo of {}",
    "an image of {}",
    "a close view of {}",
    "a wide view of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a detailed picture of {}",
    "a simple picture of {}",
    "a sharp photo of {}",
    "a soft photo of {}",
    "a centred view of {}",
    "a cropped photo of {}",
    "a clean picture of {}",
    "a good photo of {}",
    "one picture of {}",
    "a drawing or photo of {}",
    "a view showing {}",
    "here is {}",
)
"""Twenty plain frames for a placeholder. The method is that of Gal et al. 2022 (textual inversion): the text around the
placeholder varies, so that its vectors carry the concept and not the sentence. The sentences are our own."""


def shuffle_tags(caption: str, keep: int, variant: int) -> str:
    """Return a caption with the parts between its commas in another order, the first `keep` in place.

    The order is a function of the caption and the variant alone; variant 0 is the caption as it is.
    """
    if variant == 0:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    kept, moved = tags[:keep], tags[keep:]
    moved.sort(key=lambda tag: hashlib.sha256(f"{caption}/{variant}/{tag}".encode()).digest())
    return ", ".join([*kept, *moved])


@dataclass(frozen=True)
class Wording:
    """How a method speaks of a picture."""

    trigger: str
    """Caption prefix or placeholder; may be empty."""
    phrasings: tuple[str, ...] = ()
    """Frames for pictures without a caption; empty: they are called by the trigger alone."""
    lead: str = ""
    """Word of an embedding that is trained with a concept model: before everything else."""

    def put(self, text: str) -> str:
        """Return the text with all that calls what is trained before it, each unless the text holds it already."""
        return put_trigger(self.lead, put_trigger(self.trigger, text))

    def word(self, caption: str | None, pick: int = 0) -> str:
        """Return the text for one picture.

        Args:
            caption: the dataset's caption; None or blank: there is none.
            pick: which phrasing to take where there is no caption; 0 is the one used for measuring.
        """
        if caption and caption.strip():
            return self.put(caption.strip())
        if self.phrasings:
            return self.phrasings[pick % len(self.phrasings)].format(self.trigger)
        return self.put("")
