"""A real training as one of several processes, and what is measured of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import PartialState
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from atelier_trainer.learn.following import SilentRecorder, SilentReporter
from atelier_trainer.learn.losses import LossWindow
from atelier_trainer.learn.train import train
from atelier_trainer.records import Picture, Place, Recorder
from learning import FolderRecorder, ScriptedControl, build_settings, build_workspace
from tiny_models import TEXT_WIDTH, write_stable_diffusion_1

NO_CLIPPING = 1e6
WIDTHS = (16, 32)


@dataclass(frozen=True)
class Case:
    """A run to compare: what it trains on and how."""

    name: str
    base_model: Path
    pictures: tuple[Picture, ...]
    settings: dict[str, Any]


@dataclass
class Measured:
    """What a process saw of a case."""

    gradient: list[float] = field(default_factory=list)
    """Of the first step, as the optimiser sees it, before any clipping."""
    losses: list[float] = field(default_factory=list)
    """Of every step."""


def write_shallow_model(folder: Path) -> Path:
    """Write a tiny base model with half the layers of the usual one: here every layer costs a second."""
    write_stable_diffusion_1(folder)
    denoiser = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
    )
    denoiser.save_pretrained(folder / "unet")
    return folder


def measure_cases(place: Place, pipe: Connection, scratch: Path, cases: tuple[Case, ...]) -> None:
    """Train every case as one of several processes and send what was measured, by the case's name."""
    torch.set_num_threads(1)
    for case in cases:
        rendezvous = f"{place.rendezvous}-{case.name}" if place.count > 1 else ""
        own = scratch / f"{case.name}-{place.count}-{place.index}"
        pipe.send((case.name, measure(replace(place, rendezvous=rendezvous), own, case)))
        PartialState._reset_state()  # accelerate keeps one group a process, and the next case needs another


@dataclass
class ToldWhilePreparing:
    """Asks for an end from the second look for a stop on, which comes while pictures are encoded."""

    what: str
    """"stop", "leave", or "" for never."""
    looks: int = 0

    def stop_asked(self) -> bool:
        self.looks += 1
        return self.what == "stop" and self.looks > 1

    def interrupted(self) -> bool:
        return self.what == "leave" and self.looks > 0


def prepare_until_told(place: Place, pipe: Connection, scratch: Path, told: int, what: str) -> None:
    """Train as one of several processes, of which one is told to end while it prepares; send how this one ended."""
    torch.set_num_threads(1)
    workspace = build_workspace(scratch / str(place.index), build_settings(), place=place)
    control = ToldWhilePreparing(what if place.index == told else "")
    outcome = train(workspace, SilentRecorder(), SilentReporter(), control, time.monotonic)
    pipe.send((outcome.interrupted, outcome.stopped_early, outcome.to_step))


def measure(place: Place, scratch: Path, case: Case) -> Measured:
    """Train a case to its end."""
    measured = Measured()
    settings = build_settings(**case.settings, maxGradNorm=NO_CLIPPING)
    workspace = build_workspace(scratch, settings, base_model=case.base_model, pictures=case.pictures, place=place)
    recorder: Recorder = SilentRecorder() if place.index else FolderRecorder()

    def keep_gradient(optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        if not measured.gradient:
            flat = torch.cat([p.grad.flatten() for group in optimizer.param_groups for p in group["params"]])
            measured.gradient = flat.tolist()

    def keep_loss(window: LossWindow, loss: Tensor) -> None:
        measured.losses.append(float(loss))
        note(window, loss)

    note = LossWindow.note
    hook = register_optimizer_step_pre_hook(keep_gradient)
    with patch.object(LossWindow, "note", keep_loss):
        train(workspace, recorder, SilentReporter(), ScriptedControl(), time.monotonic)
    hook.remove()
    return measured
