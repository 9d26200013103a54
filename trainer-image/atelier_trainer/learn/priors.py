"""Prior preservation: pictures of the same kind, on which the trained model must answer as the base model does.

They come from a dataset of their own, or the base model draws them once, before anything is trained. Every batch gets
as many of them as it has pictures of the dataset, in the batch's own shape, after its own rows. A prior picture is
cropped to the shape nearest to its own among those that are trained; a shape that no prior picture is nearest to takes
them all.

In: pictures and the shapes of a run. Out: latents and texts of prior rows, from seeded draws.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from atelier_contract.settings import PriorSettings, Settings
from atelier_materials.dataset.buckets import Shape, nearest_shape
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import EncodingKeys, Latents
from atelier_trainer.learn.families.base import Conditions, Family, Pause, SamplerSettings
from atelier_trainer.learn.latents import PictureLatents
from atelier_trainer.learn.pictures import read_size, to_picture
from atelier_trainer.learn.sampling import encode_negative
from atelier_trainer.records import Cache, Picture


def read_prior(settings: Settings) -> PriorSettings | None:
    """Return what is asked of prior preservation, or None where it is off."""
    return settings.concept_model.prior if settings.concept_model is not None else None


def word_prior(picture: Picture, prompt: str) -> str:
    """Return what is said of a prior picture: its own caption, or the prompt where it has none."""
    return picture.caption or prompt


def list_prior_texts(settings: Settings, pictures: Sequence[Picture]) -> list[str]:
    """Return every text that prior rows can have, each once.

    Args:
        settings: of the run.
        pictures: given ones; none where the base model is to draw them, which have no captions.
    """
    prior = read_prior(settings)
    if prior is None:
        return []
    return list(dict.fromkeys(word_prior(picture, prior.prompt) for picture in pictures)) or [prior.prompt]


class PriorPlaces:
    """Which prior pictures go with which training shape."""

    def __init__(self, pictures: Sequence[Picture], shapes: Sequence[Shape]) -> None:
        """Assign pictures to shapes.

        Args:
            pictures: prior pictures; at least one.
            shapes: of the training pictures, repeated or not.
        """
        used = sorted(set(shapes))
        nearest = [nearest_shape(read_size(picture.path), used) for picture in pictures]
        self.pictures: list[Picture] = []
        self.shapes: list[Shape] = []
        self._by_shape: dict[Shape, range] = {}
        for shape in used:
            own = [picture for picture, near in zip(pictures, nearest, strict=True) if near == shape] or list(pictures)
            self._by_shape[shape] = range(len(self.pictures), len(self.pictures) + len(own))
            self.pictures += own
            self.shapes += [shape] * len(own)

    def of_shape(self, shape: Shape) -> range:
        """Return the indices, into `pictures` and `shapes`, of those that go with a shape."""
        return self._by_shape[shape]


@dataclass(frozen=True)
class PriorRows:
    """Draws the prior rows of a batch."""

    places: PriorPlaces
    latents: PictureLatents
    """Of `places`."""
    prompt: str
    """Said of pictures without a caption."""
    draws: Draws

    def draw(self, step: int, item: int, shape: Shape) -> tuple[Latents, str]:
        """Return latents and text of one prior row: a picture of the batch's shape, and its own caption."""
        candidates = self.places.of_shape(shape)
        index = candidates[self.draws.pick(len(candidates), "prior", step, item)]
        return self.latents.read(index), word_prior(self.places.pictures[index], self.prompt)


@torch.no_grad()
def draw_prior_pictures(
    family: Family,
    encode: Callable[[Sequence[str]], Conditions],
    settings: Settings,
    *,
    cache: Cache,
    keys: EncodingKeys,
    scratch: Path,
    pause: Pause,
) -> tuple[Picture, ...]:
    """Return pictures that the base model drew of the prior's prompt: square ones, each from its own seeded noise.

    A later attempt finds them in the cache; where it does not, the same machine draws the same again. Must be called
    before anything is trained, while adapters are a no-op.
    """
    prior, validation = read_prior(settings), settings.validation
    if prior is None:
        return ()
    place = ("prior", prior.prompt, settings.resolution, settings.seed, validation.sampler_steps)
    names = [keys.of_drawing(*place, str(validation.guidance), number) for number in range(prior.pictures)]
    cache.fetch("pictures", names)
    sampler = SamplerSettings(validation.sampler_steps, validation.guidance)
    draws, side = Draws(settings.seed), settings.resolution // family.pixels_per_latent
    shape = torch.Size((1, family.latent_channels, side, side))
    try:
        for number, name in enumerate(names):
            if cache.read("pictures", name) is not None:
                continue
            noise = draws.normal(shape, "prior drawing", number)
            negative = encode_negative(family, encode, "")
            pixels = family.sample(noise, encode([prior.prompt]), negative, sampler, pause)
            cache.write("pictures", name, _write_png(pixels[0]))
    finally:
        cache.flush()
    folder = scratch / "prior"
    folder.mkdir(exist_ok=True)
    return tuple(_keep(cache, name, folder / f"{number:04d}.png") for number, name in enumerate(names))


def _write_png(pixels: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    to_picture(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _keep(cache: Cache, name: str, path: Path) -> Picture:
    data = cache.read("pictures", name)
    assert data is not None  # noqa: S101 - written or found above
    path.write_bytes(data)
    return Picture(path, hashlib.sha256(data).hexdigest(), caption=None, name=f"the prior picture {path.name}")
