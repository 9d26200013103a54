"""Whole runs on the tiny base model with everything that the data path has, and what must not change their result."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_trainer.learn.encodings import MemoryCache
from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1
from atelier_trainer.records import Picture, Workspace
from learning import FolderRecorder, build_settings, build_workspace
from learning_results import Finished, run
from toy_family import put_mask

EVERYTHING: dict[str, Any] = {
    "conceptModel": {"prior": {"weight": 0.5, "prompt": "a cup", "pictures": 2}},
    "shuffleTags": True,
    "flip": True,
    "steps": 4,
    "everySteps": 2,
    "validation": {"samplerSteps": 1},
}


def enrich(pictures: tuple[Picture, ...], folder: Path) -> tuple[Picture, ...]:
    """Return pictures with a mask, repeats and a further caption here and there."""
    mask = put_mask(folder / "mask", (128, 128), (0, 0, 64, 128))
    return tuple(
        replace(
            picture,
            mask=mask if number % 3 == 0 else None,
            repeats=1 + number % 2,
            other_captions=("a pot, red, round",) if number % 4 == 0 else (),
        )
        for number, picture in enumerate(pictures)
    )


def build(scratch: Path, cache: MemoryCache | None = None, **changes: Any) -> Workspace:
    """Return a workspace with everything in it."""
    workspace = build_workspace(scratch, build_settings(**EVERYTHING | changes))
    return replace(workspace, pictures=enrich(workspace.pictures, scratch), cache=cache)


@pytest.fixture(scope="module")
def cache() -> MemoryCache:
    """A cache that several runs share."""
    return MemoryCache()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cache: MemoryCache) -> Finished:
    """The run that fills the cache."""
    scratch = tmp_path_factory.mktemp("runs") / "first"
    return run(scratch, workspace=build(scratch, cache))


def assert_equal_ends(one: Finished, other: Finished) -> None:
    """Check that two runs ended with the same bits."""
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_run_that_reads_the_cache_ends_as_the_one_that_fills_it(
    first: Finished, cache: MemoryCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything kept, the picture encoder is never asked, and the weights are the same, bit for bit."""

    def refuse(*_: object) -> None:
        raise AssertionError("the picture encoder was asked")

    workspace = build(tmp_path / "second", cache)
    monkeypatch.setattr(StableDiffusion1, "encode_picture", refuse)
    assert_equal_ends(run(tmp_path / "second", workspace=workspace), first)


def test_run_without_space_ends_the_same(first: Finished, tmp_path: Path) -> None:
    """A run that encodes on the way, because nothing can be kept, ends with the same bits."""
    scratch = tmp_path / "small"
    finished = run(scratch, workspace=build(scratch, MemoryCache(capacity_bytes=0)))
    assert_equal_ends(finished, first)
    told = [warning for warning in finished.reports.reports[-1].warnings if "scratch space" in warning]
    assert any("all latents" in warning for warning in told)
    assert any("the text encoders stay in memory" in warning for warning in told)


def test_going_on_from_a_state_ends_the_same(first: Finished, cache: MemoryCache, tmp_path: Path) -> None:
    """Masks, repeats, captions and prior pictures are the same in a later attempt."""
    scratch = tmp_path / "resumed"
    scratch.mkdir()
    recorder = first.recorder
    workspace = replace(recorder.resume(first.workspace, state=2), scratch=scratch, cache=cache, attempt="second")
    later = FolderRecorder(recorder.run, recorder.execution)
    assert_equal_ends(run(scratch, workspace=workspace, recorder=later), first)


@pytest.mark.parametrize(
    "change",
    [
        {"masks": "none"},
        {"shuffleTags": False},
        {"conceptModel": {}},
        {"conceptModel": {"prior": {"weight": 0.1, "prompt": "a cup", "pictures": 2}}},
    ],
)
def test_each_part_matters(first: Finished, cache: MemoryCache, tmp_path: Path, change: dict[str, Any]) -> None:
    """Without masks, shuffling or prior pictures, or with another weight of these, a run ends elsewhere."""
    finished = run(tmp_path / "other", workspace=build(tmp_path / "other", cache, **change))
    ours, theirs = finished.weights(), first.weights()
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures("first")
def test_shapes_are_logged_before_the_first_step(
    cache: MemoryCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many pictures are trained in which shape and how many are encoded, and no caption."""
    workspace = build(tmp_path / "logged", cache, steps=1, warmupSteps=0, everySteps=1)
    with caplog.at_level(logging.INFO, "atelier_trainer.learn"):
        run(tmp_path / "logged", workspace=workspace)
    assert "training shapes: 64x64 px (11 pictures)" in caplog.messages
    assert "encoding 0 pictures; 22 are kept already" in caplog.messages
    assert not any(picture.caption in caplog.text for picture in workspace.pictures if picture.caption)
