"""What a run is, decided once: prompts, held-out pictures, and with them who is trained on and who is measured.

In: a workspace. Out: run.json, of the first attempt or as it was then, and the pictures on both sides. Knows no torch
and no model, only how a method words a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atelier_contract.manifests import RunManifest
from atelier_contract.settings import Settings
from atelier_materials.errors import DatasetUnusable
from atelier_trainer.errors import BaseModelUnusable
from atelier_trainer.learn.captions import PHRASINGS, Wording
from atelier_trainer.learn.families.base import Pause
from atelier_trainer.learn.split import choose_held_out
from atelier_trainer.records import Picture, Workspace

DEFAULT_PROMPTS = 4
"""Captions drawn as samples where no prompts are given."""
MOST_PROBED = 16
"""Training pictures measured where none are held out: as many as are held out at most."""


@dataclass(frozen=True)
class Sides:
    """The pictures of a run."""

    training: list[Picture]
    measured: list[Picture]
    """Held out, or some of the training pictures where none are."""


def build_wording(settings: Settings) -> Wording:
    """Return how pictures are worded in a run."""
    if settings.embedding is not None:
        return Wording(settings.embedding.placeholder, PHRASINGS)
    concept = settings.concept_model
    pivotal = concept.embedding if concept else None
    return Wording(concept.caption_prefix if concept else "", lead=pivotal.placeholder if pivotal else "")


def resolve_run(workspace: Workspace, pause: Pause) -> RunManifest:
    """Return run.json: the one of the first attempt, or this attempt's own.

    Raises:
        BaseModelUnusable: the base model is not the one the run began with.
        DatasetUnusable: there is nothing to train on.
        Interrupted: by `pause`.
    """
    if workspace.run is not None:
        if workspace.run.base_model_digest != workspace.base_model_digest:
            raise BaseModelUnusable(
                "the base model is not the one this run began with: "
                "put its files back, or start a run of its own with another spec.runId"
            )
        return workspace.run
    told = workspace.input
    _check_captions(workspace.pictures, told.settings)
    held_out = choose_held_out(workspace.pictures, pause) if told.settings.validation.held_out == "auto" else []
    return RunManifest(
        job=told.job,
        run_identity=told.run_identity,
        spec_digest=told.spec_digest,
        dataset=told.dataset.name,
        dataset_revision=told.dataset.revision,
        prior_dataset_revision=told.prior_dataset.revision if told.prior_dataset else "",
        trainer_image=told.trainer_image,
        model_name=told.model_name,
        slug=told.slug,
        type=told.type,
        architecture=told.base_model.architecture,
        settings=told.settings,
        base_model_digest=workspace.base_model_digest,
        start_from_sha256=workspace.start_from_sha256,
        prompts=_choose_prompts(workspace.pictures, told.settings),
        held_out=held_out,
    )


def choose_sides(pictures: Sequence[Picture], held_out: Sequence[str]) -> Sides:
    """Return who is trained on and who is measured; equal files are on the same side."""
    kept_out = set(held_out)
    training = [picture for picture in pictures if picture.sha256 not in kept_out]
    by_content = {p.sha256: p for p in pictures if p.sha256 in kept_out} or {p.sha256: p for p in training}
    return Sides(training, [by_content[digest] for digest in sorted(by_content)][:MOST_PROBED])


def _choose_prompts(pictures: Sequence[Picture], settings: Settings) -> list[str]:
    """Return the sample prompts, the trigger in each."""
    wording = build_wording(settings)
    asked = settings.validation.prompts
    if asked is not None:
        return [wording.put(prompt) for prompt in asked]
    by_content = sorted(pictures, key=lambda picture: picture.sha256)
    worded = [wording.word(picture.caption, pick) for pick, picture in enumerate(by_content)]
    return list(dict.fromkeys(worded))[:DEFAULT_PROMPTS]


def _check_captions(pictures: Sequence[Picture], settings: Settings) -> None:
    if not pictures:
        raise DatasetUnusable("the dataset holds no usable picture: add some and let it be inspected again")
    if not build_wording(settings).put("") and not any(picture.caption for picture in pictures):
        raise DatasetUnusable(
            "no picture has a caption and conceptModel.captionPrefix is empty: nothing would name the concept"
        )
