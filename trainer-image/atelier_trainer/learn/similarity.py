"""How near sample pictures come to pictures, by an image encoder that the user gave: evidence beside the loss.

Two numbers a checkpoint. *Similarity*: the mean, over the samples, of the cosine to the nearest held-out picture; it
says how much of the concept is drawn, and cannot be raised by copying, because nothing held out was trained on. *Near
copies*: how many samples are nearer to a training picture than training pictures are to each other.

    near copy: cosine ≥ max(0.95, median over training pictures of the cosine to their nearest other one)

0.95 lies above what real photographs of one subject have among themselves, 0.774 by DINO and 0.885 by CLIP (Ruiz et
al. 2023, table 1, real images); the median raises it where a dataset's pictures are all nearly alike.

In: a folder in the transformers layout with safetensors weights, and pictures. It knows neither families nor methods,
decides nothing, and draws nothing at random. Shapes: N pictures, D features.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

from atelier_materials.errors import InvalidInput
from atelier_trainer.learn.draws import build_generator
from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.pictures import open_picture, turn_upright
from atelier_trainer.records import Picture

NEAR_COPY = 0.95
MOST_COMPARED = 1000
"""Training pictures that samples are compared with, drawn by content: 35 TFLOP for a ViT-B at 224 px, which are seconds
of a GPU and some minutes of a core."""
CLIP_KINDS = ("clip", "clip_vision_model")
OTHER_KINDS = ("dinov2", "dinov2_with_registers", "vit", "dinov3_vit")
"""Model types whose first token stands for the whole picture."""
PREPROCESSOR = "preprocessor_config.json"
PLAIN = [0.5, 0.5, 0.5]
"""Mean and deviation where the folder states none: pixels from -1 to 1."""


@dataclass(frozen=True)
class Likeness:
    """What a comparison found."""

    similarity: float | None
    """None: nothing is held out."""
    near_copies: int


class ImageEncoder:
    """An image encoder on the device."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load it, offline, from safetensors alone, without remote code.

        Raises:
            InvalidInput: the folder does not hold such an encoder.
        """
        self._device = device
        try:
            self._model, self._is_clip = _load(folder)
            self._side_px, self._mean, self._deviation = _read_preprocessing(folder, self._model.config)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise InvalidInput(
                f"validation.imageEncoder does not load ({type(error).__name__}: {str(error)[:200]}): give the folder "
                "of a CLIP, DINO or ViT model in the transformers layout with safetensors weights, or leave it out"
            ) from error
        self._model.requires_grad_(requires_grad=False).eval().to(device)

    @torch.no_grad()
    def encode(self, picture: Image.Image) -> Tensor:
        """Return a picture's features, [D] float32 of length 1, on the CPU. One at a time: no batch decides a bit."""
        fitted = ImageOps.fit(picture.convert("RGB"), (self._side_px, self._side_px), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(fitted, dtype=np.float32) / 255).permute(2, 0, 1)
        pixels = ((pixels - self._mean) / self._deviation).unsqueeze(0).to(self._device)
        answer = self._model(pixel_values=pixels)
        features: Tensor = answer.image_embeds[0] if self._is_clip else answer.last_hidden_state[0, 0]
        return functional.normalize(features.float().cpu(), dim=0)


@dataclass(frozen=True)
class Comparison:
    """What samples of a run are compared with."""

    encoder: ImageEncoder
    held_out: Tensor
    """[N, D], each row of length 1; N may be 0."""
    training: Tensor
    """[N, D], each row of length 1."""

    def compare(self, samples: Iterable[Image.Image]) -> Likeness:
        """Return how near samples come to held-out and to training pictures."""
        features = torch.stack([self.encoder.encode(sample) for sample in samples])
        return compare_features(features, self.held_out, self.training)


def build_comparison(
    folder: Path, device: torch.device, held_out: Sequence[Picture], training: Sequence[Picture], pause: Pause
) -> Comparison:
    """Load the encoder and encode the run's own pictures, once.

    Raises:
        InvalidInput: the folder does not hold an encoder.
        Interrupted: by `pause`, between two pictures.
    """
    encoder = ImageEncoder(folder, device)
    chosen = choose_compared(training)
    encoded = [_encode_all(encoder, pictures, pause) for pictures in (held_out, chosen)]
    return Comparison(encoder, *encoded)


def choose_compared(pictures: Sequence[Picture]) -> list[Picture]:
    """Return each content once, and of very many pictures some: in an order that their contents alone decide."""
    contents = sorted({picture.sha256: picture for picture in pictures}.items())
    if len(contents) <= MOST_COMPARED:
        return [picture for _, picture in contents]
    order = torch.randperm(len(contents), generator=build_generator("compared"))[:MOST_COMPARED]
    return [contents[int(index)][1] for index in sorted(order.tolist())]


def compare_features(samples: Tensor, held_out: Tensor, training: Tensor) -> Likeness:
    """Return what the module's head says, from features of length 1: [S, D], [N, D] and [M, D]."""
    similarity = float((samples @ held_out.T).amax(dim=1).mean()) if len(held_out) else None
    if not len(training):
        return Likeness(similarity, 0)
    nearest = (samples @ training.T).amax(dim=1)
    return Likeness(similarity, int((nearest >= find_threshold(training)).sum()))


def find_threshold(training: Tensor) -> float:
    """Return the cosine from which a sample counts as nearly a copy of a training picture."""
    if len(training) < 2:
        return NEAR_COPY
    others = training @ training.T
    others.fill_diagonal_(-1)
    return max(NEAR_COPY, float(others.amax(dim=1).median()))


def _encode_all(encoder: ImageEncoder, pictures: Sequence[Picture], pause: Pause) -> Tensor:
    rows = []
    for picture in pictures:
        pause()
        with open_picture(picture.path) as opened:
            rows.append(encoder.encode(turn_upright(opened, picture.path)))
    return torch.stack(rows) if rows else torch.zeros(0, 1)


def _load(folder: Path) -> tuple[nn.Module, bool]:
    """Return the model and whether it is CLIP's. Raises ValueError for a kind that is not known here."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.model_type not in CLIP_KINDS + OTHER_KINDS:
        raise ValueError(f"it is a model of kind {config.model_type}")
    kind = CLIPVisionModelWithProjection if config.model_type in CLIP_KINDS else AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    return cast("nn.Module", model), config.model_type in CLIP_KINDS


def _read_preprocessing(folder: Path, config: Any) -> tuple[int, Tensor, Tensor]:
    """Return the side in pixels, and mean and deviation of the channels, [3, 1, 1] each."""
    path = folder / PREPROCESSOR
    stated: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    mean, deviation = (torch.tensor(stated.get(key, PLAIN)).view(3, 1, 1) for key in ("image_mean", "image_std"))
    side = stated.get("crop_size", config.image_size)
    return int(side["height"] if isinstance(side, dict) else side), mean, deviation
