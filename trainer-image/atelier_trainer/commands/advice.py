"""What a person would want to know before a GPU is used: settings that can be meant, but probably were not.

Pure. In: the resolved run, the dataset's revision, what was found out of the base model. Out: sentences, gravest first;
none stops the run. They are preflight's message and the first warnings of training's progress. No sentence holds a
caption, a prompt or more than one file's name: they become conditions that many can read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from atelier_contract import defaults
from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import DatasetItem
from atelier_contract.settings import Settings
from atelier_materials.dataset.triggers import put_trigger
from atelier_materials.estimates import GIB, count_text_bytes
from atelier_materials.footprint import TAG_ORDERS, learns_text
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from atelier_trainer.edges.cache import DISK_SHARE

MANY_CACHE_BYTES = 10_000_000_000
"""Of encodings: from here on their size is worth a sentence."""
MOST_SENTENCES = 8
"""Progress keeps 16 warnings; training adds its own."""
FAR_RATE = 20.0
"""Times above or below the usual learning rate at which a typing mistake is likelier than a wish."""
FEW_PASSES, MANY_PASSES = 5, 1000
"""Of every picture. Recipes lie between 20 and 200; the ends are left to people who know why."""
SHORT_CAPTION_WORDS = 1
SHARE_THAT_MATTERS = 0.5


def list_advice(
    asked: TrainingInput, items: Sequence[DatasetItem], facts: BaseModelFacts, cache_bytes: int = 0
) -> list[str]:
    """Return what to say before a run, gravest first."""
    settings = asked.settings
    found = [
        *_judge_rate(settings),
        *_judge_sizes(settings.resolution, items),
        *_judge_captions(settings, items),
        *_judge_length(settings, items),
        *_judge_unused(settings, items, facts),
    ]
    if cache_bytes >= MANY_CACHE_BYTES:
        found.append(_describe_cache(asked, len(items), cache_bytes))
    return found[:MOST_SENTENCES]


def _describe_cache(asked: TrainingInput, pictures: int, cache_bytes: int) -> str:
    """Say what encodings take, and what becomes of a run whose disk does not hold them: it is not known here."""
    settings = asked.settings
    orders = f" (tuning.shuffleTags: up to {TAG_ORDERS} orders of each)" if settings.shuffle_tags else ""
    text_bytes = 0 if learns_text(settings) else count_text_bytes(asked.base_model.architecture, settings)
    stays = f", and text encoders stay in GPU memory, {text_bytes / GIB:.1f} GiB more than estimated"
    return (
        f"the encodings of {pictures} pictures and their captions{orders} take about {cache_bytes / 1e9:.0f} GB of the "
        f"store, once for this dataset, and of the training pod's disk: with spec.pod.ephemeralStorage below "
        f"{math.ceil(cache_bytes / DISK_SHARE / GIB)}Gi for each of its GPUs they are made in every step"
        f"{stays if text_bytes else ''}"
    )


def _judge_rate(settings: Settings) -> Iterator[str]:
    if settings.optimizer == "Prodigy":
        return
    usual = defaults.CONCEPT_LEARNING_RATE if settings.embedding is None else defaults.EMBEDDING_LEARNING_RATE
    times = settings.learning_rate / usual
    if times >= FAR_RATE:
        yield (
            f"learningRate {settings.learning_rate:g} is {times:.0f} times the usual {usual:g}: the loss will probably "
            "run away, look at the first checkpoint"
        )
    elif times <= 1 / FAR_RATE:
        yield (
            f"learningRate {settings.learning_rate:g} is {1 / times:.0f} times below the usual {usual:g}: little will "
            "be learned"
        )


def _judge_sizes(resolution: int, items: Sequence[DatasetItem]) -> Iterator[str]:
    small = [item for item in items if item.width * item.height < resolution**2]
    if len(small) > len(items) * SHARE_THAT_MATTERS:
        areas = sorted(item.width * item.height for item in items)
        fitting = max(64, int(areas[len(areas) // 2] ** 0.5) // 64 * 64)
        yield (
            f"{len(small)} of {len(items)} pictures have fewer pixels than tuning.resolution {resolution} and are "
            f"enlarged, which teaches blur: add larger ones, or set {fitting}"
        )


def _judge_captions(settings: Settings, items: Sequence[DatasetItem]) -> Iterator[str]:
    prefix = settings.concept_model.caption_prefix if settings.concept_model else ""
    captions = [item.caption for item in items if item.caption]
    holding = [caption for caption in captions if prefix and put_trigger(prefix, caption) == caption]
    if holding:
        yield (
            f"conceptModel.captionPrefix stands in {len(holding)} of {len(items)} captions already: it is not put "
            "there a second time"
        )
    bare = [caption for caption in captions if len(caption.replace(prefix, "").split()) <= SHORT_CAPTION_WORDS]
    if settings.concept_model and len(bare) > len(items) * SHARE_THAT_MATTERS:
        yield (
            f"{len(bare)} of {len(items)} captions have at most one word besides captionPrefix: all that a picture "
            "shows is then learned as the concept, describe what may change"
        )
    elif settings.concept_model and len(items) > 1 and len(captions) == len(items) and len(set(captions)) == 1:
        yield f"all {len(items)} captions are the same: describe in each what may change, so that the rest is bound"


def _judge_length(settings: Settings, items: Sequence[DatasetItem]) -> Iterator[str]:
    shown = sum(item.repeats for item in items)
    if len(items) == 1:
        yield "the dataset has one picture: the result will copy it, add ten or more"
    elif settings.batch_size > shown:
        yield (
            f"tuning.batchSize {settings.batch_size} is more than the {shown} pictures of the dataset: steps see "
            f"pictures more than once, set {max(1, shown // 2)} or less"
        )
    passes = settings.steps * settings.batch_size / max(shown, 1)
    if passes < FEW_PASSES:
        yield f"each picture is seen about {passes:.1f} times in {settings.steps} steps: 20 to 200 times are usual"
    elif passes > MANY_PASSES and len(items) > 1:
        yield f"each picture is seen about {passes:.0f} times in {settings.steps} steps: 20 to 200 times are usual"
    if settings.every_steps > settings.steps:
        yield (
            f"checkpoints.everySteps {settings.every_steps} is more than steps {settings.steps}: there will be one "
            "checkpoint, at the end"
        )


def _judge_unused(settings: Settings, items: Sequence[DatasetItem], facts: BaseModelFacts) -> Iterator[str]:
    """Yield settings that have no effect in this run."""
    if not facts.has_guidance:
        yield (
            "the base model is FLUX.1 schnell, which knows no guidance: validation.guidance is not used; it was made "
            f"to draw in four steps, so validation.samplerSteps {settings.validation.sampler_steps} may be lowered"
        )
    masked = sum(item.mask_path is not None for item in items)
    if masked and settings.masks == "none":
        yield f"{masked} pictures have masks, and tuning.masks is none: they are not used"
