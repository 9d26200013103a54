"""The recogniser: a small network that says which shape, colour and ground a picture shows.

In: drawings, and the same drawings rebuilt by the autoencoder. Out: three answers a picture. It judges samples of the
denoiser by the closed classes of `captions`; it forgives wobbly outlines, so the sample sheet has to be looked at too.

Legend: B batch, H W pixels. Pictures are fp32 in [-1, 1].
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from torch.nn import functional

from tiny_base.autoencoder import scale_pixels
from tiny_base.captions import COLOURS, SHAPES, Scene, choose_scene
from tiny_base.pictures import draw_scene, stack_pixels
from tiny_base.training import set_rate

DRAWINGS, EPOCHS, BATCH = 4_000, 8, 64
CHECK_DRAWINGS = 400
PEAK_RATE = 2e-3
COLOUR_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Verdict:
    """Shares of pictures where an answer is right, and where all three are."""

    shape: float
    colour: float
    background: float
    everything: float


class Recogniser(nn.Module):
    """Four strided convolutions and two layers; answers as logits of shape, colour and background."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        blocks = [
            nn.Sequential(nn.Conv2d(here, there, 3, stride=2, padding=1), nn.BatchNorm2d(there), nn.ReLU())
            for here, there in pairwise(widths)
        ]
        self.body = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        self.head = nn.Linear(128, len(SHAPES) + 2 * len(COLOURS))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Answer pictures [B, 3, H, W] with three rows of logits."""
        answers: torch.Tensor = self.head(self.body(pictures))
        shapes, colours, grounds = answers.split([len(SHAPES), len(COLOURS), len(COLOURS)], dim=1)
        return shapes, colours, grounds


def choose_plain_scenes(seed: str, count: int) -> list[Scene]:
    """Choose scenes of one plain figure in the middle, all parts of which a caption can name."""
    draws = random.Random(seed)
    return [replace(choose_scene(draws), stripe=None, size=None, position=None) for _ in range(count)]


def train_recogniser(autoencoder: AutoencoderKL) -> Recogniser:
    """Train on fresh drawings and on what the autoencoder makes of them; about a minute on one core."""
    torch.manual_seed(11)
    scenes = choose_plain_scenes("recogniser", DRAWINGS)
    pictures = _draw_all("recogniser", scenes)
    with torch.no_grad():
        rebuilt = [
            autoencoder.decode(autoencoder.encode(rows).latent_dist.mean).sample.clamp(-1, 1)
            for rows in pictures[: DRAWINGS // 2].split(100)
        ]
    pictures = torch.cat([pictures, *rebuilt])
    labels = _label_scenes([*scenes, *scenes[: DRAWINGS // 2]])
    model = Recogniser()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05, fused=True)
    batches = len(pictures) // BATCH
    for epoch in range(EPOCHS):
        order = torch.randperm(len(pictures))
        for number in range(batches):
            set_rate(optimiser, PEAK_RATE, epoch * batches + number, EPOCHS * batches)
            rows = order[number * BATCH : (number + 1) * BATCH]
            strength = 0.1 * torch.randn(len(rows), 1, 1, 1)
            answers = model(pictures[rows] + strength * torch.randn_like(pictures[rows]))
            losses = [functional.cross_entropy(answer, labels[rows, place]) for place, answer in enumerate(answers)]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
    return model.eval()


def check_recogniser(model: Recogniser) -> Verdict:
    """Judge the judge, on drawings it has not seen."""
    scenes = choose_plain_scenes("recogniser check", CHECK_DRAWINGS)
    return _compare(model, _draw_all("recogniser check", scenes), scenes)


def judge_pictures(model: Recogniser, pictures: Sequence[Image.Image], scenes: Sequence[Scene]) -> Verdict:
    """Compare what pictures show with what they should."""
    return _compare(model, scale_pixels(torch.from_numpy(stack_pixels(pictures))), scenes)


@torch.no_grad()
def _compare(model: Recogniser, pictures: torch.Tensor, scenes: Sequence[Scene]) -> Verdict:
    answers = torch.stack([answer.argmax(dim=1) for answer in model(pictures)], dim=1)
    is_right = answers == _label_scenes(scenes)
    shape, colour, background = is_right.float().mean(dim=0).tolist()
    return Verdict(shape, colour, background, is_right.all(dim=1).float().mean().item())


def _draw_all(seed: str, scenes: Sequence[Scene]) -> torch.Tensor:
    draws = random.Random(f"{seed} drawings")
    return scale_pixels(torch.from_numpy(stack_pixels([draw_scene(scene, draws) for scene in scenes])))


def _label_scenes(scenes: Sequence[Scene]) -> torch.Tensor:
    """Indices of shape, colour and background: int64 [B, 3]."""
    return torch.tensor(
        [
            (SHAPES.index(scene.shape), COLOUR_NAMES.index(scene.colour), COLOUR_NAMES.index(scene.background))
            for scene in scenes
        ]
    )
