"""Resolving: spec over template over built-in defaults, once, at a run's start.

The rows that status prints are the only result, and the trainer's `Settings` are read back from them (`resolved`). So
what a person reads is what is used, and a template that changes later changes nothing. A setting of something that is
not chosen (restarts of another schedule, the delta of another loss) has no row.
"""

from __future__ import annotations

from collections.abc import Iterator

from atelier_contract import defaults
from atelier_contract.architectures import FACTS
from atelier_contract.names import STORE_SECRET
from atelier_contract.pods import PodSettings
from atelier_contract.template import Recipe, TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import MAX_CHECKPOINT_ROWS, ResolvedSetting
from atelier_contract.tuning import CheckpointSpec, TuningSpec, ValidationSpec
from atelier_operator.plan.asked import Asked, find_recipe, pick, pick_block
from atelier_operator.plan.resolve_methods import resolve_concept_model, resolve_embedding

FOUR_CAPTIONS = "four captions of the dataset"
_NEEDED_BY = {
    "tuning.restarts": ("tuning.schedule", "cosineWithRestarts"),
    "tuning.huberDelta": ("tuning.loss", "huber"),
    "tuning.keepTags": ("tuning.shuffleTags", "true"),
}
"""Settings that only another's value gives a meaning."""


def resolve(
    job: str, spec: TrainingJobSpec, template: TrainingTemplateSpec | None, pictures: int | None = None
) -> list[ResolvedSetting]:
    """Return every setting as it will be used, and where it came from.

    Args:
        job: name of the TrainingJob; the placeholder's stem where the model's slug is empty.
        spec: what the user asked.
        template: the template that the spec names, if any.
        pictures: of one pass over the dataset, from which a template may derive the steps.
    """
    asked = Asked(spec, find_recipe(spec, template), job)
    rows = [*_resolve_rate(asked), *_resolve_tuning(asked)]
    values = {row.name: row.value for row in rows}
    rows = [row for row in rows if _is_meant(row, values)]
    steps = list(_resolve_steps(asked, int(values["tuning.batchSize"]), pictures))
    rows[1:1] = steps
    rows += _resolve_checkpoints(asked, int(steps[0].value))
    rows += resolve_concept_model(asked) if spec.concept_model is not None else resolve_embedding(asked)
    return [*rows, *_resolve_validation(asked), *_resolve_pod(asked)]


def space_checkpoints(steps: int, every_steps: int | None) -> int:
    """Return the steps between checkpoints: as asked or a tenth of the steps, doubled until status can list them all.

    Example: 2000 steps, every 10 asked: 80, which makes 25 checkpoints.
    """
    every = every_steps or -(-steps // defaults.CHECKPOINT_SHARE)
    while -(-steps // every) > MAX_CHECKPOINT_ROWS:
        every *= 2
    return every


def count_steps(recipe: Recipe, pictures: int, batch_size: int) -> int:
    """Return the steps in which every picture is seen as often as the recipe wants, within its limits."""
    steps = -(-(recipe.passes_per_picture or 1) * pictures // batch_size)
    steps = max(steps, recipe.min_steps or 1)
    return steps if recipe.max_steps is None else min(steps, recipe.max_steps)


def _resolve_rate(asked: Asked) -> Iterator[ResolvedSetting]:
    theirs = asked.recipe.learning_rate if asked.recipe and asked.template_rates_apply else None
    default = defaults.CONCEPT_LEARNING_RATE if asked.spec.embedding is None else defaults.EMBEDDING_LEARNING_RATE
    yield pick(
        "learningRate",
        asked.spec.learning_rate,
        theirs,
        defaults.PRODIGY_LEARNING_RATE if asked.uses_prodigy else default,
    )


def _resolve_steps(asked: Asked, batch_size: int, pictures: int | None) -> Iterator[ResolvedSetting]:
    """Yield the steps and, where they follow from a recipe's passes, of what."""
    recipe = asked.recipe
    if asked.spec.steps is not None or recipe is None or recipe.passes_per_picture is None or not pictures:
        floor = recipe and (recipe.steps or recipe.min_steps)
        yield pick("steps", asked.spec.steps, floor, defaults.STEPS)
        return
    yield pick("steps", None, count_steps(recipe, pictures, batch_size), None)
    words = f"{recipe.passes_per_picture}, of {pictures} pictures in batches of {batch_size}"
    limits = [
        f"{word} {limit} steps"
        for word, limit in (("at least", recipe.min_steps), ("at most", recipe.max_steps))
        if limit is not None
    ]
    yield pick("passesPerPicture", None, ", ".join([words, *limits]), None)


def _resolve_tuning(asked: Asked) -> Iterator[ResolvedSetting]:
    spec, family = asked.spec, asked.spec.base_model.architecture
    mine, theirs = spec.tuning or TuningSpec(), (asked.recipe and asked.recipe.tuning) or TuningSpec()
    trains_embedding = spec.embedding is not None
    built_in: dict[str, object] = {
        "batchSize": defaults.BATCH_SIZES[family],
        "microBatchSize": "",  # empty: as many as the memory takes
        "resolution": FACTS[family].resolution_px,
        "seed": 0,
        "optimizer": defaults.OPTIMIZER,
        "schedule": defaults.SCHEDULE,
        "restarts": defaults.RESTARTS,
        "warmupSteps": defaults.WARMUP_STEPS,
        "weightDecay": defaults.EMBEDDING_WEIGHT_DECAY if trains_embedding else defaults.WEIGHT_DECAY,
        "maxGradNorm": defaults.MAX_GRAD_NORM,
        "emaDecay": defaults.EMA_DECAY,
        "loss": defaults.LOSS,
        "huberDelta": defaults.HUBER_DELTA,
        "snrGamma": defaults.SNR_GAMMA if FACTS[family].weighs_noise else 0.0,
        "noiseOffset": defaults.NOISE_OFFSET,
        "captionDropout": defaults.EMBEDDING_CAPTION_DROPOUT if trains_embedding else defaults.CAPTION_DROPOUT,
        "shuffleTags": False,
        "keepTags": defaults.KEEP_TAGS,
        "flip": False,
        "masks": "auto",
        "precision": "auto",
        "quantization": "none",
    }
    if not FACTS[family].weighs_noise:
        theirs = theirs.model_copy(update={"snr_gamma": None})
    yield from pick_block("tuning", mine, theirs, built_in)


def _resolve_checkpoints(asked: Asked, steps: int) -> Iterator[ResolvedSetting]:
    mine = asked.spec.checkpoints or CheckpointSpec()
    yield ResolvedSetting(
        name="checkpoints.everySteps",
        value=str(space_checkpoints(steps, mine.every_steps)),
        source="Default" if mine.every_steps is None else "Spec",
    )
    yield pick("checkpoints.metadata", mine.metadata, None, defaults.METADATA)


def _resolve_validation(asked: Asked) -> Iterator[ResolvedSetting]:
    mine = asked.spec.validation or ValidationSpec()
    built_in: dict[str, object] = {
        "prompts": FOUR_CAPTIONS,
        "negativePrompt": "",
        "guidance": defaults.GUIDANCE[asked.spec.base_model.architecture],
        "samplerSteps": defaults.SAMPLER_STEPS,
        "heldOut": "auto",
        "imageEncoder": "",  # empty: nothing is compared
        "seed": 0,
    }
    return pick_block("validation", mine, ValidationSpec(), built_in)


def _resolve_pod(asked: Asked) -> Iterator[ResolvedSetting]:
    architecture = asked.spec.base_model.architecture
    built_in: dict[str, object] = {
        "gpus": 1,
        "gpuResource": defaults.GPU_RESOURCE,
        "cpu": defaults.CPU,
        "memory": defaults.MEMORY[architecture],
        "ephemeralStorage": defaults.EPHEMERAL_STORAGE[architecture],
        "startDeadlineSeconds": defaults.START_DEADLINE_SECONDS,
    }
    yield from pick_block("pod", asked.spec.pod or PodSettings(), PodSettings(), built_in)
    storage = asked.spec.storage
    claim = storage.persistent_volume_claim.claim_name if storage and storage.persistent_volume_claim else None
    secret = storage.secret_ref.name if storage and storage.secret_ref else None
    if claim is not None:
        yield pick("storage.persistentVolumeClaim", claim, None, None)
    else:
        yield pick("storage.secretRef", secret, None, STORE_SECRET)


def _is_meant(row: ResolvedSetting, values: dict[str, str]) -> bool:
    """Return whether a setting has a meaning beside the others."""
    needed = _NEEDED_BY.get(row.name)
    return needed is None or values[needed[0]] == needed[1]
