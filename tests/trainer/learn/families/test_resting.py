"""In a run no encoder is in memory beside the denoiser, unless something in it learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_contract.architectures import Architecture
from atelier_contract.manifests import StateManifest
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.encodings import MemoryCache
from atelier_trainer.learn.families import loading
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.learn.methods.frozen_text import find_frozen_text
from atelier_trainer.learn.methods.registry import build_method
from learning import EMBEDDING, PIVOTAL, FolderRecorder, build_settings, build_told, build_workspace
from learning_results import run
from mappings import list_mapped
from tiny_models import WRITERS

SD, XL, FLUX = Architecture.STABLE_DIFFUSION_1, Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1
SMALL: dict[str, Any] = {"steps": 2, "everySteps": 2, "batchSize": 2, "snrGamma": 0, "captionDropout": 0}
TEXTS = {SD: {"text_encoder"}, XL: {"text_encoder", "text_encoder_2"}, FLUX: {"text_encoder", "text_encoder_2"}}
LIVE: dict[str, dict[str, Any]] = {
    "adapted": {"conceptModel": {"textEncoderLearningRate": 1e-3}},
    "embedding": {"embedding": EMBEDDING},
    "pivotal": {"conceptModel": {"embedding": PIVOTAL}},
}


@dataclass
class Watcher(FolderRecorder):
    """Looks, besides, at what is in memory whenever a state is kept."""

    base: Path = Path()
    beside_steps: list[set[str]] = field(default_factory=list)

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        super().record_state(folder, manifest)
        self.beside_steps.append(list_mapped(self.base))


@dataclass(frozen=True)
class Seen:
    """What of a base model was in memory."""

    beside_denoiser: list[set[str]]
    """Just before its first tensor was read."""
    beside_steps: list[set[str]]


def watch_run(tmp_path: Path, architecture: Architecture, patch: pytest.MonkeyPatch, **changes: Any) -> Seen:
    """Run two steps on a model of a family."""
    right, before = loading.stream_tensors, []

    def look(*told: Any) -> Iterator[tuple[str, torch.Tensor]]:
        before.append(list_mapped(tmp_path / "base"))
        yield from right(*told)

    patch.setattr(loading, "stream_tensors", look)
    cache = changes.pop("cache", None)
    settings = build_settings(**SMALL, **changes)
    workspace = replace(
        build_workspace(tmp_path / "run", settings),
        input=build_told(settings, architecture.value),
        base_model=WRITERS[architecture](tmp_path / "base"),
        cache=cache,
    )
    recorder = Watcher(base=tmp_path / "base")
    run(tmp_path, workspace=workspace, recorder=recorder)
    return Seen(before, recorder.beside_steps)


@pytest.mark.parametrize("architecture", [SD, XL, FLUX])
def test_denoiser_and_text_encoders_never_meet(
    architecture: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text encoders are gone before the denoiser's first tensor comes; beside the steps there is no encoder at all."""
    seen = watch_run(tmp_path, architecture, monkeypatch)
    assert seen.beside_denoiser == [{"vae"}]
    assert seen.beside_steps
    assert all(not parts for parts in seen.beside_steps)


@pytest.mark.parametrize("changes", LIVE.values(), ids=LIVE)
def test_encoders_that_learn_stay(changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders that something trained sits in are there in every step, the picture encoder is not."""
    seen = watch_run(tmp_path, XL, monkeypatch, **changes)
    assert seen.beside_steps
    assert all(parts == TEXTS[XL] for parts in seen.beside_steps)


def test_encoders_stay_where_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space for what they say, encoders are asked in every step and do not come and go."""
    seen = watch_run(tmp_path, SD, monkeypatch, cache=MemoryCache(capacity_bytes=1))
    assert seen.beside_steps
    assert all(parts == {*TEXTS[SD], "vae"} for parts in seen.beside_steps)


@dataclass
class NoRoomForPriors(MemoryCache):
    """Has space for texts and for the latents of pictures and of what is measured, and for no more."""

    asked: int = 0

    def has_space(self, size_bytes: int) -> bool:
        self.asked += 1
        return self.asked <= 3


def test_picture_encoder_stays_where_prior_pictures_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prior pictures without space are encoded in every step, for which the picture encoder does not come and go."""
    prior = {"weight": 0.5, "prompt": "a cup", "pictures": 2}
    seen = watch_run(tmp_path, SD, monkeypatch, cache=NoRoomForPriors(), conceptModel={"prior": prior})
    assert seen.beside_steps
    assert all(parts == {"vae"} for parts in seen.beside_steps)


@pytest.mark.parametrize("changes", [{}, *LIVE.values()], ids=["frozen", *LIVE])
def test_what_learns_is_known_beforehand(changes: dict[str, Any], tiny_xl: Path) -> None:
    """The settings tell whether texts are frozen, as the built method does; frozen ones are not rewritten."""
    settings = build_settings(**changes)
    family = load_family(XL, tiny_xl, torch.device("cpu"), torch.float32, "contiguous")
    method = build_method(family, settings, Draws(settings.seed))
    frozen = find_frozen_text(settings)
    assert (frozen is None) == method.has_live_text
    if frozen is not None:
        assert frozen.rewrite("TKXW, a <tkxw> star") == method.rewrite("TKXW, a <tkxw> star")
