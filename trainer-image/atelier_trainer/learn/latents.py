"""Every picture's latents, encoded once and kept in a file that the system pages in and out.

The posterior is kept, mean and deviation, not one sample of it: each step draws its own. Pictures are encoded one at a
time, so that neither their order nor a batch size decides a bit. A mapped file is as fast as memory while it fits and
needs no second code path when it does not. It lives as long as the pod: nothing is looked up by key.

In: pictures and their shapes. Out: posteriors on the training device. Knows a family by its protocol.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from atelier_trainer.learn.buckets import Shape
from atelier_trainer.learn.families.base import Family, Pause, Posterior
from atelier_trainer.learn.pictures import read_pixels
from atelier_trainer.records import Picture

FLOAT_BYTES = 4
DISK_SHARE = 0.5
"""Part of the free scratch space that latents may take; the rest is for checkpoints and states."""


class PictureLatents:
    """Posteriors of all pictures, plain and, where asked, mirrored."""

    def __init__(
        self, family: Family, pictures: Sequence[Picture], shapes: Sequence[Shape], scratch: Path, *, flip: bool
    ) -> None:
        """Lay out the file; `fill` encodes.

        Args:
            family: whose encoder is used.
            pictures: in the run's order.
            shapes: training shape of each picture.
            scratch: folder for the file.
            flip: whether mirrored pictures are trained too.
        """
        self._family, self._pictures, self._shapes = family, pictures, shapes
        self._sides = (False, True) if flip else (False,)
        self._offsets: dict[tuple[int, bool], int] = {}
        size = 0
        for index in range(len(pictures)):
            for side in self._sides:
                self._offsets[index, side] = size
                size += 2 * self.latent_shape(index).numel()
        self.is_kept = size * FLOAT_BYTES <= DISK_SHARE * shutil.disk_usage(scratch).free
        """False: the space does not suffice, and each picture is encoded again in every step that shows it."""
        if self.is_kept:
            path = str(scratch / "latents.f32")
            self._file = torch.from_file(path, shared=True, size=size, dtype=torch.float32)

    def latent_shape(self, index: int) -> torch.Size:
        """Return [C, H, W] of a picture's latents."""
        width, height = self._shapes[index]
        factor = self._family.pixels_per_latent
        return torch.Size((self._family.latent_channels, height // factor, width // factor))

    def fill(self, pause: Pause) -> None:
        """Encode every picture, unless they are encoded on the way."""
        if not self.is_kept:
            return
        for index, side in self._offsets:
            pause()
            posterior = self._encode(index, side)
            mean, deviation = self._views(index, side)
            mean.copy_(posterior.mean[0])
            deviation.copy_(posterior.deviation[0])

    def read(self, index: int, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of a picture, each [C, H, W] float32."""
        if self.is_kept:
            return self._views(index, flip)
        posterior = self._encode(index, flip)
        return posterior.mean[0].cpu(), posterior.deviation[0].cpu()

    def _encode(self, index: int, side: bool) -> Posterior:
        pixels = read_pixels(self._pictures[index].path, self._shapes[index], flip=side)
        return self._family.encode_picture(pixels)

    def _views(self, index: int, side: bool) -> tuple[Tensor, Tensor]:
        shape = self.latent_shape(index)
        start, count = self._offsets[index, side], shape.numel()
        mean, deviation = self._file[start : start + 2 * count].view(2, *shape)
        return mean, deviation
