"""Every picture's latents, encoded once, kept in the dataset's cache and read where they lie.

The posterior is kept, mean and deviation, not one sample of it: each step draws its own. Pictures are encoded one at a
time, so that neither their order nor a batch size decides a bit, and decoded ahead of the encoder by a few threads.
What was encoded before, by an earlier attempt or another job, is not even decoded. Where the space does not suffice for
all, each picture is encoded in every step that shows it; the numbers are the same.

In: pictures and their shapes. Out: latents on the CPU. Knows a family and a cache by their protocols.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from atelier_materials.dataset.buckets import Shape
from atelier_trainer.learn.encodings import (
    HALF_BYTES,
    EncodingKeys,
    Latents,
    read_latents,
    round_posterior,
    write_latents,
)
from atelier_trainer.learn.families.base import Family, Pause
from atelier_trainer.learn.pictures import read_pixels
from atelier_trainer.records import Cache, Picture

log = logging.getLogger(__name__)
PICTURES_PER_LINE = 100
"""Of the log: seconds on a GPU, minutes on a processor."""
DECODERS = 2
"""Threads that decode pictures while the device encodes: a photograph takes a core some 100 ms, an encoder on a GPU
about as long."""
Place = tuple[int, bool]
"""Index of a picture, and whether it is mirrored."""


class PictureLatents:
    """Latents of pictures in their shapes, plain and, where asked, mirrored."""

    def __init__(
        self,
        family: Family,
        cache: Cache,
        keys: EncodingKeys,
        pictures: Sequence[Picture],
        shapes: Sequence[Shape],
        *,
        flip: bool = False,
    ) -> None:
        """Say what is to be encoded; `fill` encodes.

        Args:
            family: whose encoder is used.
            cache: where latents are kept.
            keys: of the run's encodings.
            pictures: in the run's order; one may be there several times, in several shapes.
            shapes: training shape of each picture.
            flip: whether mirrored pictures are trained too.
        """
        self._family, self._cache, self._keys = family, cache, keys
        self._pictures, self._shapes = pictures, shapes
        sides = (False, True) if flip else (False,)
        self._places = [(index, side) for index in range(len(pictures)) for side in sides]
        size_bytes = sum(2 * HALF_BYTES * self.latent_shape(index).numel() for index, _ in self._places)
        self.is_kept = cache.has_space(size_bytes)
        """False: the space does not suffice, and each picture is encoded again in every step that shows it."""

    def latent_shape(self, index: int) -> torch.Size:
        """Return [C, H, W] of a picture's latents."""
        width, height = self._shapes[index]
        factor = self._family.pixels_per_latent
        return torch.Size((self._family.latent_channels, height // factor, width // factor))

    def fill(self, pause: Pause) -> None:
        """Encode what is not kept yet, unless pictures are encoded on the way.

        What was encoded is kept, whatever ends it.

        Raises:
            DatasetUnusable: a picture cannot be decoded.
            Interrupted: by `pause`.
        """
        if not self.is_kept:
            return
        self._cache.fetch("latents", {self._key(place) for place in self._places})
        missing = [place for place in self._places if self._find(place) is None]
        log.info("encoding %d pictures; %d are kept already", len(missing), len(self._places) - len(missing))
        try:
            for done, (place, pixels) in enumerate(self._decode_ahead(missing)):
                pause()
                if done and done % PICTURES_PER_LINE == 0:
                    log.info("%d of %d pictures are encoded", done, len(missing))
                latents = round_posterior(self._family.encode_picture(pixels))
                self._cache.write("latents", self._key(place), write_latents(latents))
        finally:
            self._cache.flush()

    def read(self, index: int, *, flip: bool = False) -> Latents:
        """Return a picture's latents."""
        kept = self._find((index, flip)) if self.is_kept else None
        return kept or round_posterior(self._family.encode_picture(self._decode((index, flip))))

    def _find(self, place: Place) -> Latents | None:
        data = self._cache.read("latents", self._key(place))
        return None if data is None else read_latents(data, self.latent_shape(place[0]))

    def _key(self, place: Place) -> str:
        index, side = place
        return self._keys.of_latents(self._pictures[index].sha256, self._shapes[index], flip=side)

    def _decode(self, place: Place) -> Tensor:
        index, side = place
        picture = self._pictures[index]
        return read_pixels(picture.path, self._shapes[index], flip=side, name=picture.name)

    def _decode_ahead(self, places: Sequence[Place]) -> Iterator[tuple[Place, Tensor]]:
        """Yield each place with its pixels, in order, decoding the next ones meanwhile."""
        with ThreadPoolExecutor(DECODERS, "decode") as pool:
            begun: deque[Future[Tensor]] = deque(pool.submit(self._decode, place) for place in places[:DECODERS])
            for number, place in enumerate(places):
                if (following := number + DECODERS) < len(places):
                    begun.append(pool.submit(self._decode, places[following]))
                yield place, begun.popleft().result()
