"""What a run tells of its quality beside the loss: likeness of samples, near copies, and learning by heart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from atelier_contract.architectures import Architecture
from atelier_contract.manifests import CheckpointManifest, SampleFile
from atelier_materials.errors import InvalidInput
from atelier_trainer.commands.attempt import end_as
from atelier_trainer.learn.losses import LossWindow
from atelier_trainer.learn.overfitting import PATIENCE, explain_overfit
from atelier_trainer.learn.progress import Progress
from atelier_trainer.learn.similarity import (
    MOST_COMPARED,
    NEAR_COPY,
    ImageEncoder,
    build_comparison,
    choose_compared,
    compare_features,
    find_threshold,
)
from atelier_trainer.learn.train import Outcome
from atelier_trainer.records import Picture
from learning import KeptReports, SteppedClock, build_settings, build_told, build_workspace
from learning_results import run

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
CPU = torch.device("cpu")


def write_clip(folder: Path) -> None:
    """Write a tiny CLIP image encoder with its preprocessing, as the published folders have it."""
    CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=8, **SMALL)).save_pretrained(folder)
    stated = {"crop_size": {"height": 32, "width": 32}, "image_mean": [0.4] * 3, "image_std": [0.3] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))


def write_vit(folder: Path) -> None:
    """Write a tiny ViT, which is what DINO's first version is."""
    ViTModel(ViTConfig(**SMALL), add_pooling_layer=False).save_pretrained(folder)


def write_dino(folder: Path) -> None:
    """Write a tiny DINO of the second version."""
    Dinov2Model(Dinov2Config(**SMALL)).save_pretrained(folder)


@pytest.fixture(params=[write_clip, write_vit, write_dino])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> ImageEncoder:
    """An image encoder of each kind, with random weights."""
    torch.manual_seed(0)
    write: Callable[[Path], None] = request.param
    write(tmp_path / "encoder")
    return ImageEncoder(tmp_path / "encoder", CPU)


def a_picture(seed: int) -> Image.Image:
    """Return a picture of noise."""
    levels = torch.randint(256, (48, 40, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(levels.numpy())


def test_features_have_length_1_and_tell_pictures_apart(encoder: ImageEncoder) -> None:
    """A picture is like itself with a cosine of 1, and less like another one."""
    one, same, other = (encoder.encode(a_picture(seed)) for seed in (0, 0, 1))
    assert one.norm().item() == pytest.approx(1)
    assert torch.equal(one, same)
    assert (one @ other).item() < 1 - 1e-6


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"nonsense"),
        lambda folder: CLIPTextConfig().save_pretrained(folder),
    ],
    ids=["no weights", "no config", "broken weights", "another kind"],
)
def test_an_encoder_that_does_not_load_is_refused_in_words(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    """The setting is named, and what it wants."""
    write_vit(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InvalidInput, match=r"validation\.imageEncoder does not load .* or leave it out"):
        ImageEncoder(tmp_path, CPU)


def rows(*angles: float) -> torch.Tensor:
    """Return features of length 1 in the plane, [N, 2], by their angles in degrees."""
    turned = torch.deg2rad(torch.tensor(angles))
    return torch.stack([turned.cos(), turned.sin()], dim=1)


def test_similarity_is_the_mean_to_the_nearest_held_out() -> None:
    """Each sample counts with the held-out picture that it is nearest to."""
    likeness = compare_features(rows(0, 90), rows(60, 30), rows(180))
    assert likeness.similarity == pytest.approx((3**0.5 / 2 + 3**0.5 / 2) / 2)


def test_without_held_out_pictures_there_is_no_similarity() -> None:
    """Nearness to training pictures is never passed off as likeness."""
    assert compare_features(rows(0), rows()[:0].reshape(0, 2), rows(0)).similarity is None


def test_a_copy_is_counted() -> None:
    """A sample that is a training picture is a near copy; one at 20 degrees (0.94) from all is none."""
    assert compare_features(rows(0, 20), rows(90), rows(0, 90, 180)).near_copies == 1


def test_pictures_that_are_all_alike_raise_the_threshold() -> None:
    """Where training pictures lie at 0.99 of each other, a sample at 0.98 is no copy of any."""
    alike = rows(0, 8.1, 16.2, 24.3)
    assert find_threshold(rows(0, 90)) == NEAR_COPY
    assert find_threshold(alike) == pytest.approx(0.99, abs=1e-3)
    assert compare_features(rows(-11), rows(0), alike).near_copies == 0
    assert compare_features(rows(-11), rows(0), rows(0, 90)).near_copies == 1


def test_very_many_pictures_are_drawn_from_by_content() -> None:
    """At most so many are compared, each content once, whatever their order and names."""
    pictures = [Picture(Path(f"{i}.png"), f"{i % 1500:064x}", None) for i in range(3000)]
    chosen = choose_compared(pictures)
    assert len({picture.sha256 for picture in chosen}) == len(chosen) == MOST_COMPARED
    turned = choose_compared(pictures[::-1])
    assert [picture.sha256 for picture in turned] == [picture.sha256 for picture in chosen]


def test_training_pictures_are_copies_of_themselves(encoder: ImageEncoder, tmp_path: Path) -> None:
    """Compared through files and the encoder, a training picture is a near copy and a held-out one is fully like."""
    pictures = []
    for seed in range(3):
        a_picture(seed).save(tmp_path / f"{seed}.png")
        pictures.append(Picture(tmp_path / f"{seed}.png", f"{seed:064x}", None))
    comparison = build_comparison(tmp_path / "encoder", CPU, pictures[:1], pictures[1:], lambda: None)
    likeness = comparison.compare([a_picture(0), a_picture(1)])
    assert likeness.near_copies >= 1
    alone = comparison.compare([a_picture(0)])
    assert alone.similarity == pytest.approx(1)


def test_a_run_tells_of_its_samples_likeness(tmp_path: Path) -> None:
    """With an encoder every checkpoint says both numbers, step 0 too; they change nothing else."""
    write_vit(tmp_path / "encoder")
    workspace = build_workspace(tmp_path / "a", build_settings(steps=2, everySteps=1))
    told = run(tmp_path / "a", workspace=_with_encoder(workspace, tmp_path / "encoder"))
    plain = run(tmp_path / "b", workspace=build_workspace(tmp_path / "b", build_settings(steps=2, everySteps=1)))
    manifests = [manifest for _, manifest in told.recorder.checkpoints.values()]
    assert [manifest.step for manifest in manifests] == [0, 1, 2]
    assert all(manifest.near_copies is not None for manifest in manifests)
    assert [manifest.training_loss is None for manifest in manifests] == [True, False, False]
    assert told.recorder.model(2).read_bytes() == plain.recorder.model(2).read_bytes()
    assert plain.recorder.checkpoints[2][1].near_copies is None


def _with_encoder(workspace: Any, folder: Path) -> Any:
    return replace(workspace, image_encoder=folder)


def a_checkpoint(step: int, loss: float | None = 0.2, **changes: Any) -> CheckpointManifest:
    """Return a checkpoint's manifest with four samples."""
    samples = [SampleFile(name=f"samples/{i}.png", bytes=1, sha256="0" * 64, prompt=i) for i in range(4)]
    manifest = CheckpointManifest(
        step=step,
        run_identity="",
        type="ConceptModel",
        architecture=Architecture.STABLE_DIFFUSION_1,
        files=[],
        samples=samples,
        held_out_loss=loss,
    )
    return manifest.model_copy(update=changes)


def a_course(losses: list[float], training: list[float], **changes: Any) -> list[CheckpointManifest]:
    """Return checkpoints a hundred steps apart."""
    pairs = zip(losses, training, strict=True)
    return [a_checkpoint(100 * i, loss, training_loss=own, **changes) for i, (loss, own) in enumerate(pairs)]


def test_a_rise_against_a_falling_training_loss_is_told() -> None:
    """Three rises in a row while training goes down: the sentence names how many, and where it was lowest."""
    (sentence,) = explain_overfit(a_course([0.3, 0.2, 0.21, 0.22, 0.23], [0.3, 0.2, 0.18, 0.16, 0.14]))
    assert "risen for 3 checkpoints" in sentence
    assert "lowest held-out loss was at step 100" in sentence


@pytest.mark.parametrize(
    ("losses", "training"),
    [
        ([0.3, 0.2, 0.21, 0.22], [0.3, 0.2, 0.18, 0.16]),
        ([0.3, 0.2, 0.21, 0.205, 0.22, 0.23], [0.3, 0.2, 0.18, 0.16, 0.15, 0.14]),
        ([0.3, 0.2, 0.21, 0.22, 0.23], [0.3, 0.2, 0.21, 0.22, 0.23]),
        ([0.3, 0.29, 0.28, 0.27, 0.26], [0.3, 0.2, 0.18, 0.16, 0.14]),
        ([], []),
    ],
    ids=["two rises", "a dip between", "both rise", "both fall", "nothing yet"],
)
def test_anything_else_is_not(losses: list[float], training: list[float]) -> None:
    """Fewer rises, a dip, a training loss that rises too (the rate is too high), or no checkpoint: nothing is said."""
    assert explain_overfit(a_course(losses, training)) == []
    assert PATIENCE == 3


def test_a_probe_loss_says_nothing() -> None:
    """Measured on training pictures, a rise cannot mean that they are learned by heart."""
    course = a_course([0.3, 0.2, 0.21, 0.22, 0.23], [0.3, 0.2, 0.18, 0.16, 0.14], loss_name="probeLoss")
    assert explain_overfit(course) == []


def test_near_copies_are_told() -> None:
    """Samples that come nearer to held-out pictures and are copies of training pictures: how many, at which step."""
    course = [a_checkpoint(0, similarity=0.4, near_copies=0), a_checkpoint(500, similarity=0.8, near_copies=2)]
    (sentence,) = explain_overfit(course)
    assert sentence.startswith("2 of 4 samples of step 500 are nearly copies")


def test_copies_that_the_base_model_draws_are_not_the_runs() -> None:
    """What step 0 already draws that near was not learned."""
    course = [a_checkpoint(0, similarity=0.4, near_copies=2), a_checkpoint(500, similarity=0.8, near_copies=2)]
    assert explain_overfit(course) == []


def test_report_and_last_words_warn_of_learning_by_heart() -> None:
    """What checkpoints speak for is told while the run goes on and at its end, also where a restart only reads them."""
    settings = build_settings()
    reports = KeptReports()
    progress = Progress(
        reporter=reports,
        clock=SteppedClock(),
        told=build_told(settings),
        attempt="a",
        total_steps=settings.steps,
        every_steps=settings.every_steps,
        batch_size=settings.batch_size,
        from_step=0,
        losses=LossWindow(),
    )
    for manifest in reversed(a_course([0.3, 0.2, 0.21, 0.22, 0.23], [0.3, 0.2, 0.18, 0.16, 0.14])):
        progress.note_checkpoint(manifest, is_new=False)
    progress.report()
    (sentence,) = progress.explain_quality()
    assert sentence in reports.reports[-1].warnings
    outcome = Outcome(0, 6, complete=True, stopped_early=False, interrupted=False, exact=True, quality=sentence)
    assert end_as("a", outcome).report.message == sentence
