"""What a model file says of itself: the few entries by which tools recognise, list and trigger it.

Minimal on purpose: no captions, no folder names, no dates. The file leaves the namespace, and equal weights have to
give equal files. What more is said is asked for: `standard` adds how it was trained (numbers and digests), `full` adds
the shapes of the pictures and how often each part of a caption occurs, so words of captions leave with the file.

Sources: kohya sd-scripts (`ss_…`, first of all the set that its own merge tools keep; `sshs_…` are digests of the
tensors) and ModelSpec 1.0.1 (`modelspec.…`). A1111 hides a LoRA whose `ss_base_model_version` it does not know, so that
is always there. Folders are called `dataset` where the format wants a name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atelier_contract.architectures import Architecture
from atelier_contract.inputs import TrainingInput
from atelier_contract.settings import Settings
from atelier_materials.dataset.buckets import Shape
from atelier_trainer.learn.batches import BatchPlan
from atelier_trainer.learn.families.base import Family
from atelier_trainer.learn.methods.base import ModelTensors
from atelier_trainer.learn.tensor_files import digest_tensors
from atelier_trainer.records import Picture

KOHYA_BASES = {
    Architecture.STABLE_DIFFUSION_1: "sd_v1",
    Architecture.STABLE_DIFFUSION_XL: "sdxl_base_v1-0",
    Architecture.FLUX_1: "flux1",
}
"""`ss_base_model_version` as sd-scripts writes it."""
MODEL_SPEC_BASES = {
    Architecture.STABLE_DIFFUSION_1: "stable-diffusion-v1",
    Architecture.STABLE_DIFFUSION_XL: "stable-diffusion-xl-v1-base",
    Architecture.FLUX_1: "flux-1-dev",
}
"""First half of `modelspec.architecture`."""
IMPLEMENTATIONS = {Architecture.FLUX_1: "https://github.com/black-forest-labs/flux"}
"""`modelspec.implementation` as sd-scripts writes it; by it Forge knows a LoRA of schnell as one of FLUX.1."""
FLUX_SCHNELL = "flux-1-schnell"
MODEL_SPEC_VERSION = "1.0.1"
MODEL_SPEC_PREDICTIONS = ("epsilon", "v")
"""The only values that ModelSpec knows; others are left out."""
KOHYA_SCHEDULES = {"constant": "constant", "cosine": "cosine", "cosineWithRestarts": "cosine_with_restarts"}
DATASET = "dataset"
"""Stands for the folder's name, which stays at home."""


@dataclass(frozen=True)
class DatasetFacts:
    """What the levels above minimal say of the pictures."""

    captions: Sequence[str]
    """Of the training pictures, the first of each; empty where there is none."""
    shapes: Sequence[Shape]
    """At which each is trained."""
    steps_per_epoch: int
    shown: int
    """Pictures of an epoch: each as often as its repeats say."""


def describe_dataset(pictures: Sequence[Picture], plan: BatchPlan) -> DatasetFacts:
    """Return the facts of a run's training pictures, in the order in which they were planned."""
    captions, shown = [picture.caption or "" for picture in pictures], sum(picture.repeats for picture in pictures)
    return DatasetFacts(captions, plan.shapes, plan.steps_per_epoch, shown)


def build_metadata(
    told: TrainingInput,
    settings: Settings,
    family: Family,
    model: ModelTensors,
    dataset: DatasetFacts,
    *,
    step: int,
) -> dict[str, str]:
    """Return the header entries of one model file of a checkpoint.

    Args:
        told: names and digests of the run.
        settings: as trained; `metadata` is the level.
        family: what it was trained on.
        model: the file's tensors and the method's own entries.
        dataset: what it was trained with.
        step: of the checkpoint.
    """
    digest = digest_tensors(model.tensors)
    resolution = f"{settings.resolution}x{settings.resolution}"
    metadata = {
        "format": "pt",
        "ss_base_model_version": KOHYA_BASES[family.architecture],
        "ss_v2": "False",
        "ss_output_name": told.slug or told.job,
        "ss_steps": str(step),
        "sshs_model_hash": digest,
        **model.entries,
        "modelspec.sai_model_spec": MODEL_SPEC_VERSION,
        "modelspec.architecture": f"{_name_base(family)}/{model.kind}",
        "modelspec.implementation": IMPLEMENTATIONS.get(family.architecture, "diffusers"),
        "modelspec.title": told.model_name,
        "modelspec.resolution": resolution,
        "modelspec.hash_sha256": f"0x{digest}",
    }
    if family.prediction in MODEL_SPEC_PREDICTIONS:
        metadata["modelspec.prediction_type"] = family.prediction
    if model.trigger:
        metadata["modelspec.trigger_phrase"] = model.trigger
    if settings.metadata != "minimal":
        metadata |= _describe_training(told, settings, dataset, step)
    if settings.metadata == "full":
        metadata |= _describe_pictures(dataset)
    return metadata


def _name_base(family: Family) -> str:
    """Return the base as ModelSpec spells it; FLUX.1 schnell is told from dev by the guidance it does not take."""
    config = getattr(family.denoiser, "config", None)
    if family.architecture is Architecture.FLUX_1 and not getattr(config, "guidance_embeds", True):
        return FLUX_SCHNELL
    return MODEL_SPEC_BASES[family.architecture]


def _describe_training(told: TrainingInput, settings: Settings, dataset: DatasetFacts, step: int) -> dict[str, str]:
    """Return how it was trained: numbers and digests, no words of the user's."""
    concept = settings.concept_model
    text_rate = concept.text_encoder_learning_rate if concept else None
    pictures = len(dataset.shapes)
    per_epoch = max(1, dataset.steps_per_epoch)
    return {
        "ss_learning_rate": str(settings.learning_rate),
        "ss_unet_lr": str(settings.learning_rate) if concept else "None",
        "ss_text_encoder_lr": str(text_rate),
        "ss_optimizer": settings.optimizer,
        "ss_lr_scheduler": KOHYA_SCHEDULES[settings.schedule],
        "ss_lr_warmup_steps": str(settings.warmup_steps),
        "ss_max_train_steps": str(settings.steps),
        "ss_epoch": str(-(-step // per_epoch)),
        "ss_num_epochs": str(-(-settings.steps // per_epoch)),
        "ss_num_batches_per_epoch": str(dataset.steps_per_epoch),
        "ss_num_train_images": str(dataset.shown),
        "ss_dataset_dirs": _to_json({DATASET: {"n_repeats": 1, "img_count": pictures}}),
        "ss_total_batch_size": str(settings.batch_size),
        "ss_resolution": f"({settings.resolution}, {settings.resolution})",
        "ss_seed": str(settings.seed),
        "ss_min_snr_gamma": str(settings.snr_gamma or None),
        "ss_noise_offset": str(settings.noise_offset or None),
        "ss_loss_type": {"mse": "l2", "huber": "huber"}[settings.loss],
        "ss_caption_dropout_rate": str(settings.caption_dropout),
        "ss_shuffle_caption": str(settings.shuffle_tags),
        "ss_keep_tokens": str(settings.keep_tags if settings.shuffle_tags else 0),
        "ss_random_crop": "False",
        "ss_flip_aug": str(settings.flip),
        "ss_max_grad_norm": str(settings.max_grad_norm),
        "atelier.run": told.run_identity,
        "atelier.dataset_revision": told.dataset.revision,
    }


def _describe_pictures(dataset: DatasetFacts) -> dict[str, str]:
    """Return the pictures' shapes and how often each part of a caption occurs, the parts being what commas divide."""
    tags = Counter(tag.strip() for caption in dataset.captions for tag in caption.split(",") if tag.strip())
    shapes = Counter(dataset.shapes)
    buckets = {
        str(number): {"resolution": list(shape), "count": shapes[shape]} for number, shape in enumerate(sorted(shapes))
    }
    return {
        "ss_tag_frequency": _to_json({DATASET: dict(sorted(tags.items()))}),
        "ss_bucket_info": _to_json({"buckets": buckets}),
        "ss_enable_bucket": "True",
    }


def _to_json(value: Mapping[str, object]) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)
