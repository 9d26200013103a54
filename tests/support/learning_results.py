"""Runs a small training to its end and opens what it left, for tests that look at results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from atelier_contract.settings import Settings
from atelier_trainer.learn.draws import Draws
from atelier_trainer.learn.families.stable_diffusion_1 import StableDiffusion1
from atelier_trainer.learn.methods.base import Method
from atelier_trainer.learn.methods.registry import build_method
from atelier_trainer.learn.train import Outcome, train
from atelier_trainer.records import Control, Workspace
from learning import BASE_MODEL, FolderRecorder, KeptReports, ScriptedControl, build_settings, build_workspace


@dataclass(frozen=True)
class Finished:
    """A run that has ended, and everything it recorded."""

    settings: Settings
    workspace: Workspace
    recorder: FolderRecorder
    reports: KeptReports
    outcome: Outcome

    def weights(self, step: int | None = None) -> dict[str, Tensor]:
        """Return the float32 masters out of a state (default: the last)."""
        folder, _ = self.recorder.states[max(self.recorder.states) if step is None else step]
        return load_file(folder / "weights.safetensors")


def run(
    scratch: Path,
    *,
    recorder: FolderRecorder | None = None,
    control: Control | None = None,
    workspace: Workspace | None = None,
    **changes: Any,
) -> Finished:
    """Train on the teapots with changed settings, or on a given workspace, until the attempt ends."""
    settings = workspace.input.settings if workspace else build_settings(**changes)
    workspace = workspace or build_workspace(scratch, settings)
    recorder, control = recorder or FolderRecorder(), control or ScriptedControl()
    reports = KeptReports(control)
    outcome = train(workspace, recorder, reports, control, time.monotonic)
    return Finished(settings, workspace, recorder, reports, outcome)


def load_family() -> StableDiffusion1:
    """Return a fresh copy of the tiny base model."""
    return StableDiffusion1(BASE_MODEL, torch.device("cpu"), torch.float32, "contiguous")


def build_on(family: StableDiffusion1, settings: Settings) -> Method:
    """Add a run's method, untrained, to a family."""
    return build_method(family, settings, Draws(settings.seed))


def predict(family: StableDiffusion1, texts: list[str]) -> Tensor:
    """Return the denoiser's answer to fixed noise at three timesteps, one per text."""
    noise = torch.randn((len(texts), 4, 16, 16), generator=torch.Generator().manual_seed(5))
    times = torch.tensor([100, 500, 900])[: len(texts)]
    with torch.no_grad():
        return family.predict(noise, times, family.encode_prompts(texts))
