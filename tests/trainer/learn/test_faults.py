"""What cannot be trained is refused with the right code, and nothing bad is saved."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier_contract.architectures import Architecture
from atelier_contract.exit_codes import ExitCode
from atelier_materials.errors import DatasetUnusable
from atelier_trainer.errors import BaseModelUnusable, Diverged, OutOfMemory
from atelier_trainer.learn.gradients import GradientComputer
from atelier_trainer.learn.losses import FEWEST_STEPS, LossWindow, find_limit
from atelier_trainer.learn.parameters import FlatParameters
from learning import BASE_MODEL, FolderRecorder, build_settings, build_workspace
from learning_results import Finished, run


def test_another_base_model_is_refused(concept_run: Finished, tmp_path: Path) -> None:
    """A run cannot go on on another base model than it began with."""
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", concept_run.settings))
    with pytest.raises(BaseModelUnusable, match="runId"):
        run(tmp_path, workspace=replace(again, base_model_digest="c" * 64), recorder=concept_run.recorder)


def test_a_base_model_without_a_part_is_refused(tmp_path: Path) -> None:
    """A folder without its VAE ends with the base model's code and a sentence, not with a library's trace."""
    shutil.copytree(BASE_MODEL, tmp_path / "base", ignore=shutil.ignore_patterns("vae"))
    workspace = build_workspace(tmp_path / "a", build_settings(), base_model=tmp_path / "base")
    with pytest.raises(BaseModelUnusable) as refused:
        run(tmp_path, workspace=workspace)
    assert refused.value.exit_code == ExitCode.BASE_MODEL_UNUSABLE


def test_a_base_model_that_does_not_load_begins_no_run(tmp_path: Path) -> None:
    """run.json is not recorded before the base model has loaded: the mended one would be refused as another."""
    shutil.copytree(BASE_MODEL, tmp_path / "base", ignore=shutil.ignore_patterns("vae"))
    recorder = FolderRecorder()
    workspace = build_workspace(tmp_path / "a", build_settings(), base_model=tmp_path / "base")
    with pytest.raises(BaseModelUnusable):
        run(tmp_path, workspace=workspace, recorder=recorder)
    assert recorder.run is None


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    """A UNet that lies there only as a pickle is as good as missing."""
    shutil.copytree(BASE_MODEL, tmp_path / "base")
    unet = tmp_path / "base" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, unet / "diffusion_pytorch_model.bin")
    with pytest.raises(BaseModelUnusable):
        run(tmp_path, workspace=build_workspace(tmp_path / "a", build_settings(), base_model=tmp_path / "base"))


def test_no_pictures_are_refused(tmp_path: Path) -> None:
    """An empty dataset is the dataset's fault."""
    with pytest.raises(DatasetUnusable, match="no usable picture"):
        run(tmp_path, workspace=build_workspace(tmp_path / "a", build_settings(), pictures=()))


def test_a_concept_without_any_name_is_refused(tmp_path: Path) -> None:
    """Without captions and prefix nothing would call the concept."""
    workspace = build_workspace(tmp_path / "a", build_settings(conceptModel={"captionPrefix": ""}))
    nameless = tuple(replace(picture, caption=None) for picture in workspace.pictures)
    with pytest.raises(DatasetUnusable, match="captionPrefix"):
        run(tmp_path, workspace=replace(workspace, pictures=nameless))


def test_a_loss_that_is_no_number_is_an_alarm() -> None:
    """One NaN is seen at the next reading, whenever that is."""
    losses = LossWindow()
    losses.note(torch.tensor(0.1))
    losses.note(torch.tensor(float("nan")))
    with pytest.raises(Diverged, match="learningRate"):
        losses.read(2)


def test_a_loss_far_off_is_an_alarm() -> None:
    """A mean loss worse than answering nothing at all is an alarm; one bad step is not."""
    losses = LossWindow([0.1] * 40)
    losses.note(torch.tensor(5.0))
    assert len(losses.read(41)) == 41
    for _ in range(FEWEST_STEPS * 4):
        losses.note(torch.tensor(5.0))
    with pytest.raises(Diverged):
        losses.read(100)


def test_a_diverged_run_saves_nothing_that_is_not_finite(tmp_path: Path) -> None:
    """A learning rate beyond all measure ends as Diverged, and no state or checkpoint past step 0 was recorded."""
    recorder = FolderRecorder()
    workspace = build_workspace(tmp_path / "a", settings=build_settings(warmupSteps=0))
    settings = workspace.input.settings.model_copy(update={"learning_rate": 1e30})  # no input can ask for it
    wild = replace(workspace, input=workspace.input.model_copy(update={"settings": settings}))
    with pytest.raises(Diverged):
        run(tmp_path / "a", workspace=wild, recorder=recorder)
    assert recorder.states == {}
    assert sorted(recorder.checkpoints) == [0]


class Shortage:
    """A family that holds at most two pictures at once."""

    def __init__(self, most: int) -> None:
        self.device = torch.device("cpu")
        self.most = most
        self.flat = FlatParameters({"weight": ()}, self.device)
        self.flat.views["weight"].fill_(1.0)

    def flat_parameters(self) -> list[FlatParameters]:
        return [self.flat]

    has_live_text = False
    is_stochastic = False

    def encode(self, *_: object) -> dict[str, torch.Tensor]:
        return {}

    def add_noise(self, latents: torch.Tensor, *_: object) -> torch.Tensor:
        return latents

    def target(self, latents: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.zeros_like(latents)

    def weigh(self, timesteps: torch.Tensor, _gamma: float) -> torch.Tensor:
        return torch.ones(len(timesteps))

    def predict(self, noisy: torch.Tensor, *_: object) -> torch.Tensor:
        if len(noisy) > self.most:
            raise torch.OutOfMemoryError("as CUDA says it")
        return noisy * self.flat.compute["weight"]


def compute_with(most: int) -> tuple[GradientComputer, Shortage, torch.Tensor]:
    """Return the loss of a batch of four on a device that holds at most so many pictures."""
    from atelier_trainer.learn.assembly import Batch
    from atelier_trainer.learn.draws import Draws

    family = Shortage(most)
    latents = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 2, 2)
    computer = GradientComputer(family, family, family, build_settings(), Draws(0), 4)  # one fake plays three parts
    loss = computer.compute(Batch(latents, latents, torch.zeros(4), ["a"] * 4, torch.ones(4), mask_total=4.0), 0)
    return computer, family, loss


def test_a_smaller_micro_batch_gives_the_same_gradient() -> None:
    """When four pictures do not fit, two at a time give the loss and gradient of the whole batch."""
    roomy, family, loss = compute_with(4)
    tight, tight_family, tight_loss = compute_with(2)
    assert (roomy.micro_batch, tight.micro_batch) == (4, 2)
    assert tight_loss.item() == pytest.approx(loss.item())
    assert tight_family.flat.gradients["weight"].item() == pytest.approx(family.flat.gradients["weight"].item())


def test_one_picture_too_many_is_out_of_memory() -> None:
    """Where not even one picture fits the user is told which setting to lower."""
    with pytest.raises(OutOfMemory, match="resolution"):
        compute_with(0)


@pytest.mark.parametrize(
    ("architecture", "changes", "limit"),
    [
        (Architecture.STABLE_DIFFUSION_1, {}, 2.0),
        (Architecture.FLUX_1, {}, 4.0),
        (Architecture.STABLE_DIFFUSION_XL, {"loss": "huber", "huberDelta": 0.1}, 0.319),
        (Architecture.STABLE_DIFFUSION_1, {"loss": "huber", "huberDelta": 10}, 2.0),
    ],
)
def test_divergence_is_twice_what_knowing_nothing_costs(
    architecture: Architecture, changes: dict[str, Any], limit: float
) -> None:
    """The alarm follows what the denoiser is asked for and how its errors are measured."""
    assert find_limit(architecture, build_settings(**changes)) == pytest.approx(limit, rel=1e-2)
