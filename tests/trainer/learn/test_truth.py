"""Checkpoints, losses and run.json say what is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from atelier_contract.manifests import CheckpointManifest
from atelier_trainer.learn.draws import build_generator
from atelier_trainer.learn.evaluation import Measured, draw_grid_noise, measure_loss
from atelier_trainer.learn.files import describe_file
from atelier_trainer.learn.measure import load_published, measure_pipeline, open_pipeline
from atelier_trainer.learn.prompts import PromptEncoder
from learning import BASE_MODEL, EMBEDDING, TEAPOTS, build_settings, build_workspace, read_pictures
from learning_results import Finished, build_on, load_family, run


def read_manifest(finished: Finished, step: int) -> CheckpointManifest:
    return finished.recorder.checkpoints[step][1]


def test_step_0_has_pictures_and_losses_but_no_file(concept_run: Finished) -> None:
    """The base model is shown and measured, with its captions and with none, and cannot be selected."""
    manifest = read_manifest(concept_run, 0)
    assert manifest.files == []
    assert len(manifest.samples) == 1
    assert manifest.held_out_loss is not None
    assert manifest.empty_caption_loss is not None
    assert manifest.held_out_loss != manifest.empty_caption_loss


def test_a_checkpoint_lists_exactly_its_files(concept_run: Finished) -> None:
    """Names, sizes and digests of the manifest are those of the folder, and the folder holds nothing more."""
    folder, manifest = concept_run.recorder.checkpoints[6]
    listed = [*manifest.files, *manifest.samples]
    assert {entry.name for entry in listed} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    for entry in listed:
        told = describe_file(folder, entry.name)
        assert (told["bytes"], told["sha256"]) == (entry.bytes, entry.sha256)


def test_samples_are_pictures_of_the_resolution(concept_run: Finished) -> None:
    """Each sample is a PNG of the training size."""
    folder, manifest = concept_run.recorder.checkpoints[6]
    with Image.open(folder / manifest.samples[0].name) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 64))


def test_samples_change_by_training_alone(concept_run: Finished) -> None:
    """Steps 0 and 6 draw from the same noise, so their pictures differ, but only a little after six steps."""
    first, last = (
        Image.open(concept_run.recorder.checkpoints[step][0] / "samples/0.png").convert("L").resize((8, 8))
        for step in (0, 6)
    )
    differences = [abs(a - b) for a, b in zip(first.tobytes(), last.tobytes(), strict=True)]
    assert max(differences) > 0
    assert sum(differences) / len(differences) < 40


def test_the_loss_is_what_a_user_would_measure(concept_run: Finished) -> None:
    """The recorded held-out loss of step 6 is that of the file in a fresh diffusers pipeline on the same picture.

    But for what rounding latents to float16 changes: 3e-5 of it, measured.
    """
    run_manifest = concept_run.recorder.run
    assert run_manifest is not None
    held_out = [p for p in read_pictures(TEAPOTS) if p.sha256 in run_manifest.held_out]
    pipeline = open_pipeline(BASE_MODEL)
    load_published(pipeline, concept_run.recorder.model(6), "ConceptModel")
    measured = measure_pipeline(pipeline, held_out, [f"TKXW, {p.caption}" for p in held_out], 64)
    assert read_manifest(concept_run, 6).held_out_loss == pytest.approx(measured, rel=1e-4)


def test_held_out_pictures_are_listed_and_not_trained_on(concept_run: Finished) -> None:
    """One of the twelve teapots is held out by its digest, and the loss is named after it."""
    run_manifest = concept_run.recorder.run
    assert run_manifest is not None
    assert len(run_manifest.held_out) == 1
    assert read_manifest(concept_run, 3).loss_name == "heldOutLoss"


def test_without_held_out_pictures_the_loss_is_a_probe(tmp_path: Path) -> None:
    """With nothing held out the metric is measured on training pictures and says so."""
    probed = run(tmp_path / "a", steps=1, validation={"heldOut": "none"})
    assert probed.recorder.run is not None
    assert probed.recorder.run.held_out == []
    assert read_manifest(probed, 1).loss_name == "probeLoss"


def test_a_grid_that_does_not_fit_is_measured_one_by_one() -> None:
    """Where memory does not take all timesteps at once the loss is the same, to rounding; one alone has to fit."""
    family = load_family()
    encoder = PromptEncoder(family, build_on(family, build_settings()))
    pictures = [Measured(digest, torch.randn(4, 8, 8), "a teapot") for digest in ("a", "b")]
    whole = measure_loss(family, encoder.encode, pictures, lambda: None)
    predict, passes = family.predict, []

    def predict_few(noisy: Tensor, *told: Any) -> Tensor:
        passes.append(len(noisy))
        if len(noisy) > most:
            raise torch.OutOfMemoryError("as CUDA says it")
        return predict(noisy, *told)

    family.predict = predict_few  # type: ignore[method-assign]  # of this one alone
    most = 1
    assert measure_loss(family, encoder.encode, pictures, lambda: None) == pytest.approx(whole, rel=1e-5)
    assert passes == [8, *[1] * 16]
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        measure_loss(family, encoder.encode, pictures, lambda: None)


def test_grid_noise_follows_from_picture_and_timestep() -> None:
    """The grid's noise has a purpose of its own and no seed of the run in it."""
    noise = draw_grid_noise("a" * 64, 62, (4, 8, 8))
    assert noise.equal(draw_grid_noise("a" * 64, 62, (4, 8, 8)))
    assert not noise.equal(draw_grid_noise("b" * 64, 62, (4, 8, 8)))
    assert not noise.equal(draw_grid_noise("a" * 64, 187, (4, 8, 8)))
    assert (
        build_generator("evaluation", "a" * 64, 62).initial_seed() != build_generator(0, "noise", 0, 62).initial_seed()
    )


def test_prompts_get_the_trigger(concept_run: Finished) -> None:
    """A prompt without the trigger is drawn with it, and run.json says so."""
    assert concept_run.recorder.run is not None
    assert concept_run.recorder.run.prompts == ["TKXW, a star"]


def test_default_prompts_are_four_captions(tmp_path: Path) -> None:
    """Without prompts four different captions of the dataset are drawn, with the placeholder before them."""
    chosen = run(tmp_path / "a", steps=1, embedding=EMBEDDING, validation={"prompts": None})
    assert chosen.recorder.run is not None
    prompts = chosen.recorder.run.prompts
    captions = {picture.caption for picture in read_pictures(TEAPOTS)}
    assert len(set(prompts)) == 4
    assert {prompt.removeprefix("<tkxw>, ") for prompt in prompts} < captions


def test_an_adopted_run_keeps_the_values_it_began_with(concept_run: Finished, tmp_path: Path) -> None:
    """The settings of run.json hold, not those that a newer release would resolve."""
    newer = build_settings(steps=50, learningRate=0.5)
    again = concept_run.recorder.resume(build_workspace(tmp_path / "b", newer))
    resumed = run(tmp_path, workspace=again, recorder=concept_run.recorder)
    assert (resumed.outcome.complete, resumed.outcome.to_step) == (True, 6)


def test_reports_tell_of_loss_speed_and_baseline(concept_run: Finished) -> None:
    """The last report has the step, a loss, a speed, and what step 0 was measured at."""
    last = concept_run.reports.reports[-1]
    assert (last.step, last.total_steps, last.remaining_seconds) == (6, 6, 0)
    assert last.loss is not None
    assert 0 < last.loss < 1
    assert last.images_per_second is not None
    assert last.baseline_loss == read_manifest(concept_run, 0).held_out_loss
    assert last.empty_caption_loss == read_manifest(concept_run, 0).empty_caption_loss


def test_phases_come_in_order(concept_run: Finished) -> None:
    """Caching comes first, then training and checkpointing in turn."""
    assert concept_run.reports.phases == ["Caching", *["Training", "Checkpointing"] * 3, "Training"]


def test_a_quarter_of_the_time_in_samples_is_warned_of(concept_run: Finished) -> None:
    """Sampling every three steps costs more than it should, and the report says what to change."""
    assert any("everySteps" in sentence for sentence in concept_run.reports.reports[-1].warnings)


def test_long_captions_are_warned_of(tmp_path: Path) -> None:
    """A caption that the encoder cuts is counted, not passed over."""
    from dataclasses import replace

    workspace = build_workspace(tmp_path / "a", build_settings(steps=1))
    first, *others = workspace.pictures
    long = replace(first, caption="a star " * 60)
    finished = run(tmp_path, workspace=replace(workspace, pictures=(long, *others)))
    assert any(sentence.startswith("1 captions are longer") for sentence in finished.reports.reports[-1].warnings)
