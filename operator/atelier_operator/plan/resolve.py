"""Resolving: spec over template over built-in defaults, once, at a run's start.

The rows that status prints are the only result, and the trainer's `Settings` are read back from them (`read_settings`).
So what a person reads is what is used, and a template that changes later changes nothing. Long texts alone are read
from the spec, which is immutable: a row has 128 characters, and 32 bytes in a status that grew too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atelier_contract import defaults
from atelier_contract.architectures import FACTS
from atelier_contract.identity import slugify
from atelier_contract.methods import ConceptModelSpec, EmbeddingSpec
from atelier_contract.names import STORE_SECRET
from atelier_contract.pods import PodSettings
from atelier_contract.settings import Settings
from atelier_contract.template import Recipe, TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import MAX_CHECKPOINT_ROWS, ResolvedSetting
from atelier_contract.tuning import CheckpointSpec, TuningSpec, ValidationSpec

_VALUE_LENGTH = 128
FOUR_CAPTIONS = "four captions of the dataset"


@dataclass(frozen=True)
class _Asked:
    """Both sources of one run's settings, blocks never missing."""

    spec: TrainingJobSpec
    recipe: Recipe | None
    job: str

    def pick(self, name: str, spec: object, template: object, default: object) -> ResolvedSetting:
        """Return the row of one setting: the first of the three that is given."""
        if spec is not None:
            return ResolvedSetting(name=name, value=_print(spec), source="Spec")
        if template is not None:
            return ResolvedSetting(name=name, value=_print(template), source="Template")
        return ResolvedSetting(name=name, value=_print(default), source="Default")


def find_recipe(spec: TrainingJobSpec, template: TrainingTemplateSpec | None) -> Recipe | None:
    """Return the template's settings for this architecture and type, if it has any."""
    wanted = (spec.base_model.architecture, spec.model_type)
    recipes = template.recipes if template else []
    return next((recipe for recipe in recipes if (recipe.architecture, recipe.type) == wanted), None)


def resolve(job: str, spec: TrainingJobSpec, template: TrainingTemplateSpec | None) -> list[ResolvedSetting]:
    """Return every setting as it will be used, and where it came from.

    Args:
        job: name of the TrainingJob; the placeholder's stem where the model's slug is empty.
        spec: what the user asked.
        template: the template that the spec names, if any.
    """
    asked = _Asked(spec, find_recipe(spec, template), job)
    rows = list(_resolve_course(asked))
    rows += _resolve_concept_model(asked) if spec.concept_model is not None else _resolve_embedding(asked)
    return [*rows, *_resolve_validation(asked), *_resolve_pod(asked)]


def space_checkpoints(steps: int, every_steps: int | None) -> int:
    """Return the steps between checkpoints: as asked or a tenth of the steps, doubled until status can list them all.

    Example: 2000 steps, every 10 asked: 80, which makes 25 checkpoints.
    """
    every = every_steps or -(-steps // defaults.CHECKPOINT_SHARE)
    while -(-steps // every) > MAX_CHECKPOINT_ROWS:
        every *= 2
    return every


def read_row(rows: Sequence[ResolvedSetting], name: str) -> str:
    """Return the value of one resolved setting as text. Raises KeyError for one that was never resolved."""
    for row in rows:
        if row.name == name:
            return row.value
    raise KeyError(name)


def read_settings(job: str, spec: TrainingJobSpec, rows: Sequence[ResolvedSetting]) -> Settings:
    """Return a run's settings for the trainer, from the rows that status prints.

    Args:
        job: name of the TrainingJob.
        spec: what the user asked; long texts come from it.
        rows: what was resolved at the run's start.
    """
    values = {row.name: row.value for row in rows}
    course = {field: values[name] for field, name in _COURSE_ROWS.items()}
    validation = {
        "prompts": spec.validation.prompts if spec.validation else None,
        "negative_prompt": (spec.validation and spec.validation.negative_prompt) or "",
        **{field: values[f"validation.{name}"] for field, name in _VALIDATION_ROWS.items()},
    }
    block = "conceptModel." if spec.concept_model is not None else "embedding."
    kind: dict[str, Any] = {name.removeprefix(block): value for name, value in values.items() if name.startswith(block)}
    kind |= (spec.concept_model or spec.embedding or ConceptModelSpec()).as_json()
    if spec.concept_model is not None:
        kind["textEncoderLearningRate"] = kind["textEncoderLearningRate"] or None
        return Settings.model_validate({**course, "concept_model": kind, "validation": validation})
    if _is_default(rows, "embedding.placeholder"):
        kind["placeholder"] = _name_placeholder(job, spec)
    return Settings.model_validate({**course, "embedding": kind, "validation": validation})


_COURSE_ROWS = {
    "learning_rate": "learningRate",
    "steps": "steps",
    "batch_size": "tuning.batchSize",
    "resolution": "tuning.resolution",
    "seed": "tuning.seed",
    "snr_gamma": "tuning.snrGamma",
    "caption_dropout": "tuning.captionDropout",
    "flip": "tuning.flip",
    "warmup_steps": "tuning.warmupSteps",
    "schedule": "tuning.schedule",
    "precision": "tuning.precision",
    "weight_decay": "tuning.weightDecay",
    "max_grad_norm": "tuning.maxGradNorm",
    "every_steps": "checkpoints.everySteps",
}
_VALIDATION_ROWS = {"guidance": "guidance", "sampler_steps": "samplerSteps", "held_out": "heldOut", "seed": "seed"}


def _resolve_course(asked: _Asked) -> Iterator[ResolvedSetting]:
    spec, recipe = asked.spec, asked.recipe
    mine, theirs = spec.tuning or TuningSpec(), (recipe and recipe.tuning) or TuningSpec()
    trains_embedding = spec.embedding is not None
    rate = defaults.EMBEDDING_LEARNING_RATE if trains_embedding else defaults.CONCEPT_LEARNING_RATE
    dropout = defaults.EMBEDDING_CAPTION_DROPOUT if trains_embedding else defaults.CAPTION_DROPOUT
    decay = defaults.EMBEDDING_WEIGHT_DECAY if trains_embedding else defaults.WEIGHT_DECAY
    built_in: dict[str, object] = {
        "batchSize": defaults.BATCH_SIZE,
        "resolution": FACTS[spec.base_model.architecture].resolution_px,
        "seed": 0,
        "snrGamma": defaults.SNR_GAMMA,
        "captionDropout": dropout,
        "flip": False,
        "warmupSteps": defaults.WARMUP_STEPS,
        "schedule": defaults.SCHEDULE,
        "precision": "auto",
        "weightDecay": decay,
        "maxGradNorm": defaults.MAX_GRAD_NORM,
    }
    yield asked.pick("learningRate", spec.learning_rate, recipe and recipe.learning_rate, rate)
    steps = asked.pick("steps", spec.steps, recipe and recipe.steps, defaults.STEPS)
    yield steps
    yield from _resolve_block(asked, "tuning", mine, theirs, built_in)
    every = (spec.checkpoints or CheckpointSpec()).every_steps
    yield ResolvedSetting(
        name="checkpoints.everySteps",
        value=str(space_checkpoints(int(steps.value), every)),
        source="Default" if every is None else "Spec",
    )


def _resolve_concept_model(asked: _Asked) -> list[ResolvedSetting]:
    mine = asked.spec.concept_model or ConceptModelSpec()
    theirs = (asked.recipe and asked.recipe.concept_model) or ConceptModelSpec()
    rank = mine.rank or theirs.rank or defaults.RANK
    built_in: dict[str, object] = {
        "captionPrefix": "",
        "rank": defaults.RANK,
        "alpha": float(rank),
        "targets": defaults.TARGETS,
        "dropout": defaults.ADAPTER_DROPOUT,
        "textEncoderLearningRate": "",  # empty: the text encoder stays frozen
    }
    if mine.rank is not None and mine.alpha is None:
        # A template's alpha belongs to its own rank; with another rank the update would be scaled by accident.
        theirs = theirs.model_copy(update={"alpha": None})
    return list(_resolve_block(asked, "conceptModel", mine, theirs, built_in))


def _resolve_embedding(asked: _Asked) -> list[ResolvedSetting]:
    mine = asked.spec.embedding or EmbeddingSpec()
    theirs = (asked.recipe and asked.recipe.embedding) or EmbeddingSpec()
    built_in: dict[str, object] = {
        "initialPhrase": defaults.INITIAL_PHRASE,
        "placeholder": _name_placeholder(asked.job, asked.spec),
        "vectors": defaults.VECTORS,
    }
    return list(_resolve_block(asked, "embedding", mine, theirs, built_in))


def _resolve_validation(asked: _Asked) -> Iterator[ResolvedSetting]:
    mine = asked.spec.validation or ValidationSpec()
    built_in: dict[str, object] = {
        "prompts": FOUR_CAPTIONS,
        "negativePrompt": "",
        "guidance": defaults.GUIDANCE[asked.spec.base_model.architecture],
        "samplerSteps": defaults.SAMPLER_STEPS,
        "heldOut": "auto",
        "seed": 0,
    }
    return _resolve_block(asked, "validation", mine, ValidationSpec(), built_in)


def _resolve_pod(asked: _Asked) -> Iterator[ResolvedSetting]:
    architecture = asked.spec.base_model.architecture
    built_in: dict[str, object] = {
        "gpus": 1,
        "gpuResource": defaults.GPU_RESOURCE,
        "cpu": defaults.CPU,
        "memory": defaults.MEMORY[architecture],
        "ephemeralStorage": defaults.EPHEMERAL_STORAGE[architecture],
        "startDeadlineSeconds": defaults.START_DEADLINE_SECONDS,
    }
    yield from _resolve_block(asked, "pod", asked.spec.pod or PodSettings(), PodSettings(), built_in)
    storage = asked.spec.storage
    claim = storage.persistent_volume_claim.claim_name if storage and storage.persistent_volume_claim else None
    secret = storage.secret_ref.name if storage and storage.secret_ref else None
    if claim is not None:
        yield asked.pick("storage.persistentVolumeClaim", claim, None, None)
    else:
        yield asked.pick("storage.secretRef", secret, None, STORE_SECRET)


_Block = TuningSpec | ConceptModelSpec | EmbeddingSpec | ValidationSpec | PodSettings


def _resolve_block(
    asked: _Asked, block: str, mine: _Block, theirs: _Block, built_in: dict[str, object]
) -> Iterator[ResolvedSetting]:
    """Yield the rows of a block of spec whose serialised names are the keys of `built_in`."""
    spec, template = (part.model_dump(by_alias=True) for part in (mine, theirs))
    for name, default in built_in.items():
        yield asked.pick(f"{block}.{name}", spec[name], template[name], default)


def _name_placeholder(job: str, spec: TrainingJobSpec) -> str:
    """Return the placeholder of an embedding that was given none: the model's slug, or the job's name."""
    return f"<{slugify(spec.model_name) or job.replace('.', '-')}>"


def _is_default(rows: Sequence[ResolvedSetting], name: str) -> bool:
    return any(row.name == name and row.source == "Default" for row in rows)


def _print(value: object) -> str:
    """Return a value as a row carries it; numbers so that reading gives the same number again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"
