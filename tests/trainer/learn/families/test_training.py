"""The whole path on the larger families: encode, train, measure, draw, keep, and go on where an attempt was ended."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from atelier_contract.architectures import Architecture
from atelier_contract.settings import Settings
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.evaluation import draw_grid_noise
from atelier_trainer.learn.families.flux import Flux1
from atelier_trainer.learn.families.registry import load_family
from atelier_trainer.records import Workspace
from learning import EMBEDDING, FolderRecorder, ScriptedControl, build_settings, build_told, build_workspace
from learning_results import Finished, run
from tiny_models import WRITERS, write_flux

XL, FLUX = Architecture.STABLE_DIFFUSION_XL, Architecture.FLUX_1
SMALL: dict[str, Any] = {"steps": 4, "everySteps": 2, "batchSize": 2}
KINDS: dict[str, tuple[Architecture, dict[str, Any]]] = {
    "XL concept model": (XL, {"conceptModel": {"targets": "attentionMlpConv", "textEncoderLearningRate": 1e-3}}),
    "XL embedding": (XL, {"embedding": EMBEDDING, "captionDropout": 0}),
    "dev concept model": (FLUX, {"snrGamma": 0}),
    "schnell concept model": (FLUX, {"snrGamma": 0, "validation": {"guidance": 0}}),
}


def build(scratch: Path, base: Path, architecture: Architecture, settings: Settings) -> Workspace:
    """Return a workspace on the teapots and a model of a family."""
    told = build_told(settings, architecture.value)
    return replace(build_workspace(scratch, settings), input=told, base_model=base)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model for each kind of run."""
    folder = tmp_path_factory.mktemp("bases")
    xl, dev = WRITERS[XL](folder / "xl"), WRITERS[FLUX](folder / "dev")
    schnell = write_flux(folder / "schnell", schnell=True)
    return {kind: xl if kind.startswith("XL") else dev if kind.startswith("dev") else schnell for kind in KINDS}


@pytest.fixture(scope="module", params=list(KINDS))
def whole(
    request: pytest.FixtureRequest, bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Finished]:
    """An uninterrupted run of four steps of each kind, checkpoints at 0, 2 and 4."""
    kind: str = request.param
    architecture, changes = KINDS[kind]
    scratch = tmp_path_factory.mktemp("whole") / "a"
    return kind, run(scratch, workspace=build(scratch, bases[kind], architecture, build_settings(**SMALL, **changes)))


def test_everything_trained_moves(whole: tuple[str, Finished]) -> None:
    """Between both states every trained tensor changed that is read at all, and all are numbers.

    Of XL's first text encoder the UNet reads the last layer but one: what lies in the last has nothing to learn from.
    """
    _, finished = whole
    early, late = finished.weights(2), finished.weights(4)
    still = {name for name in early if torch.equal(early[name], late[name])}
    assert early
    assert all(bool(late[name].isfinite().all()) for name in late)
    assert not {name for name in still if "te1_text_model_encoder_layers_1_" not in name}


def test_every_checkpoint_is_whole(whole: tuple[str, Finished]) -> None:
    """Steps 0, 2 and 4 have a finite loss and a picture that is no plain field; all but step 0 have a file."""
    _, finished = whole
    assert sorted(finished.recorder.checkpoints) == [0, 2, 4]
    for step, (folder, manifest) in finished.recorder.checkpoints.items():
        assert math.isfinite(manifest.held_out_loss or math.nan)
        assert bool(manifest.files) == (step > 0)
        with Image.open(folder / manifest.samples[0].name) as picture:
            assert picture.size == (64, 64)
            darkest, brightest = picture.convert("L").getextrema()
            assert isinstance(brightest, int)
            assert isinstance(darkest, int)
            assert brightest - darkest > 8


def test_what_is_learned_is_seen_in_samples(whole: tuple[str, Finished]) -> None:
    """The same noise draws another picture after four steps than before the first: the trained model draws it."""
    _, finished = whole
    first, last = (finished.recorder.checkpoints[step] for step in (0, 4))
    assert first[1].samples[0].sha256 != last[1].samples[0].sha256
    assert first[1].held_out_loss != last[1].held_out_loss


def test_going_on_from_a_state_ends_the_same(
    whole: tuple[str, Finished], bases: dict[str, Path], tmp_path: Path
) -> None:
    """An attempt that is ended after step 3 and goes on from its state ends with the same bits."""
    kind, finished = whole
    architecture, _ = KINDS[kind]
    first = run(
        tmp_path / "x",
        workspace=build(tmp_path / "one", bases[kind], architecture, finished.settings),
        control=ScriptedControl(interrupt_from=3),
    )
    second = first.recorder.resume(build(tmp_path / "two", bases[kind], architecture, finished.settings))
    resumed = run(tmp_path / "y", workspace=second, recorder=first.recorder)
    assert (first.outcome.to_step, resumed.outcome.from_step, resumed.outcome.exact) == (3, 3, True)
    ours, theirs = finished.weights(4), resumed.weights(4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert finished.recorder.model(4).read_bytes() == resumed.recorder.model(4).read_bytes()


@pytest.mark.parametrize("architecture", list(Architecture), ids=lambda architecture: architecture.value)
def test_a_denoiser_that_does_not_load_leaves_no_run(architecture: Architecture, tmp_path: Path) -> None:
    """Though it is read in the background, nothing is pinned to a denoiser that turns out to be broken."""
    base = WRITERS[architecture](tmp_path / "base")
    (path,) = (path for path in base.glob("*/diffusion_pytorch_model.safetensors") if path.parent.name != "vae")
    path.write_bytes(path.read_bytes()[:-100])
    recorder = FolderRecorder()
    with pytest.raises(BaseModelUnusable, match="does not load"):
        run(
            tmp_path / "x",
            workspace=build(tmp_path / "a", base, architecture, build_settings(**SMALL, snrGamma=0)),
            recorder=recorder,
        )
    assert recorder.run is None


@torch.no_grad()
@pytest.mark.parametrize("architecture", list(Architecture), ids=lambda architecture: architecture.value)
def test_half_precision_answers_alike(architecture: Architecture, tmp_path: Path) -> None:
    """A denoiser in bfloat16 answers what it answers in float32, but for rounding, and answers in float32."""
    base = WRITERS[architecture](tmp_path / "base")
    answers = []
    for dtype in (torch.float32, torch.bfloat16):
        family = load_family(architecture, base, torch.device("cpu"), dtype, "contiguous")
        shape = (2, family.latent_channels, 8, 8)
        noisy = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        answer = family.predict(noisy, family.grid(2), family.encode_prompts(["a star", "a red teapot"]))
        assert answer.dtype == torch.float32
        answers.append(answer)
    assert float((answers[0] - answers[1]).norm() / answers[0].norm()) < 0.05


def test_the_grid_has_noise_of_its_own_at_every_share(dev: Flux1) -> None:
    """Shares of noise are no whole numbers; the measuring noise still differs from one to the next."""
    shape = torch.Size((16, 8, 8))
    drawn: list[Tensor] = [draw_grid_noise("a" * 64, share.item(), shape) for share in dev.grid(8)]
    assert len({float(noise.sum()) for noise in drawn}) == 8
