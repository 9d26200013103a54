"""What frozen encoders say, as bytes under a key that says everything it was made of.

Latents are kept as float16 means, and the deviation beside them only where it is more than what rounding did to the
mean: an encoder that is surer of itself than float16 can tell needs no posterior. The rounded numbers are what every
run trains on, also the one that makes them, so that it does not matter who encoded. Texts are kept as they are.

In: posteriors, conditions, digests. Out: bytes and keys, and back. Knows no store, no family and no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import PIL
import torch
from safetensors.torch import load, save
from torch import Tensor

from atelier_trainer.learn.families.base import Conditions, Posterior
from atelier_trainer.records import Room

PIPELINE = f"1/{PIL.__version__}"
"""Version of everything between a file and an encoder: raised whenever orientation, crop, colour or rounding change.
The decoders are the picture library's, so its version belongs to it."""
ROUNDINGS = 4.0
"""Deviations up to so many times the rounding of their mean are left out."""
HALF_BYTES = 2
PICTURE_PARTS = ("vae",)
TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
"""Folders of the diffusers layout that decide what an encoder answers."""


@dataclass(frozen=True)
class Latents:
    """A picture's latents as they are kept and trained on."""

    mean: Tensor
    """[C, H, W] float16."""
    deviation: Tensor | None
    """[C, H, W] float16, not negative; None: as good as none."""


def round_posterior(posterior: Posterior) -> Latents:
    """Return a posterior as it is kept.

    The deviation stays where its root mean square is more than four times that of what rounding did to the mean.
    """
    exact, deviation = posterior.mean[0].float().cpu(), posterior.deviation[0].float().cpu()
    mean = exact.half()
    rounding = (mean.float() - exact).square().mean().sqrt()
    matters = deviation.square().mean().sqrt() > ROUNDINGS * rounding
    return Latents(mean, deviation.half() if matters else None)


def write_latents(latents: Latents) -> bytes:
    """Return latents as bytes: the mean's numbers, then the deviation's where there is one."""
    parts = [latents.mean] if latents.deviation is None else [latents.mean, latents.deviation]
    return b"".join(part.contiguous().numpy().tobytes() for part in parts)


def read_latents(data: memoryview, shape: torch.Size) -> Latents | None:
    """Return the latents in these bytes, or None where they are not of the shape."""
    count = shape.numel()
    if len(data) not in {count * HALF_BYTES, 2 * count * HALF_BYTES}:
        return None
    numbers = torch.from_numpy(np.frombuffer(data, dtype=np.float16).copy())
    parts = [part.view(shape) for part in numbers.split(count)]
    return Latents(parts[0], parts[1] if len(parts) > 1 else None)


def write_conditions(conditions: Conditions) -> bytes:
    """Return a text's conditions as bytes: safetensors, every number as it is."""
    return save({name: tensor.contiguous() for name, tensor in conditions.items()})


def read_conditions(data: memoryview) -> Conditions:
    """Return the conditions in these bytes, on the CPU."""
    return load(bytes(data))


@dataclass(frozen=True)
class EncodingKeys:
    """Keys of one run's encodings: equal keys mean equal bytes, up to the last bits of another kind of machine."""

    pictures: str
    """Digest of everything but the picture that decides latents."""
    texts: str
    """Digest of everything but the text that decides conditions."""
    model: str
    """Digest of the whole base model and its circumstances."""

    def of_latents(self, sha256: str, shape: tuple[int, int], *, flip: bool) -> str:
        """Return the key of a picture's latents: its file, the shape it is cropped to, its side, and the encoder."""
        return _digest(self.pictures, sha256, f"{shape[0]}x{shape[1]}", f"flip={flip}")

    def of_text(self, text: str) -> str:
        """Return the key of a text's conditions: the text as the tokenizer sees it, trigger included."""
        return _digest(self.texts, text)

    def of_drawing(self, *place: str | int) -> str:
        """Return the key of a picture that the base model draws, by what is asked of it."""
        return _digest(self.model, "drawing", *map(str, place))


def build_keys(files: Mapping[str, str], whole_digest: str, *circumstances: str | int) -> EncodingKeys:
    """Return the keys of a run.

    Args:
        files: sha256 of the base model's files by path; those of an encoder stand for it. Where it has no folder of
            its own (a single file), the whole model's digest does.
        whole_digest: of the base model.
        circumstances: what else decides an encoder's numbers: family, number format, kind of device, text length.
    """
    told = [PIPELINE, *map(str, circumstances)]
    pictures = _digest_parts(files, PICTURE_PARTS) or whole_digest
    texts = _digest_parts(files, TEXT_PARTS) or whole_digest
    return EncodingKeys(*(_digest(*told, part) for part in (pictures, texts, whole_digest)))


def _digest_parts(files: Mapping[str, str], parts: Collection[str]) -> str:
    own = [f"{path}:{digest}" for path, digest in sorted(files.items()) if path.split("/")[0] in parts]
    # Beside a checkpoint of one file such folders may hold configs alone, which do not stand for its weights.
    return _digest(*own) if any(".safetensors:" in file for file in own) else ""


def _digest(*parts: str) -> str:
    """Return the sha256 of texts, each with its length before it, so that no two lists read alike."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()


@dataclass
class MemoryCache:
    """`records.Cache` without a store: nothing outlives it."""

    capacity_bytes: int = 8 << 30
    _entries: dict[tuple[Room, str], bytes] = field(default_factory=dict, init=False)
    _taken_bytes: int = field(default=0, init=False)

    def has_space(self, size_bytes: int) -> bool:
        """Return whether so much more stays below the capacity."""
        return self._taken_bytes + size_bytes <= self.capacity_bytes

    def fetch(self, room: Room, keys: Collection[str]) -> None:
        """Do nothing: everything is at hand."""

    def read(self, room: Room, key: str) -> memoryview | None:
        """Return what was written under a key, or None."""
        data = self._entries.get((room, key))
        return None if data is None else memoryview(data)

    def write(self, room: Room, key: str, data: bytes) -> None:
        """Keep bytes; a key that is there stays as it is."""
        if (room, key) not in self._entries:
            self._entries[room, key] = data
            self._taken_bytes += len(data)

    def flush(self) -> None:
        """Do nothing: there are no later attempts."""
