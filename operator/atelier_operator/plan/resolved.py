"""What was resolved, read back: the trainer's settings from the rows that status prints.

Long texts alone are read from the spec, which is immutable: a row has 128 characters, and 32 bytes in a status that
grew too large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atelier_contract import defaults
from atelier_contract.settings import Settings
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import ResolvedSetting
from atelier_operator.plan.resolve_methods import PIVOTAL, PRIOR, name_placeholder

_COURSE_ROWS = {
    "learning_rate": "learningRate",
    "steps": "steps",
    "batch_size": "tuning.batchSize",
    "micro_batch_size": "tuning.microBatchSize",
    "resolution": "tuning.resolution",
    "seed": "tuning.seed",
    "optimizer": "tuning.optimizer",
    "schedule": "tuning.schedule",
    "restarts": "tuning.restarts",
    "warmup_steps": "tuning.warmupSteps",
    "weight_decay": "tuning.weightDecay",
    "max_grad_norm": "tuning.maxGradNorm",
    "ema_decay": "tuning.emaDecay",
    "loss": "tuning.loss",
    "huber_delta": "tuning.huberDelta",
    "snr_gamma": "tuning.snrGamma",
    "noise_offset": "tuning.noiseOffset",
    "caption_dropout": "tuning.captionDropout",
    "shuffle_tags": "tuning.shuffleTags",
    "keep_tags": "tuning.keepTags",
    "flip": "tuning.flip",
    "masks": "tuning.masks",
    "precision": "tuning.precision",
    "quantization": "tuning.quantization",
    "every_steps": "checkpoints.everySteps",
    "metadata": "checkpoints.metadata",
}
_VALIDATION_ROWS = {"guidance": "guidance", "sampler_steps": "samplerSteps", "held_out": "heldOut", "seed": "seed"}


def read_row(rows: Sequence[ResolvedSetting], name: str) -> str:
    """Return the value of one resolved setting as text. Raises KeyError for one that was never resolved."""
    for row in rows:
        if row.name == name:
            return row.value
    raise KeyError(name)


def read_settings(job: str, spec: TrainingJobSpec, rows: Sequence[ResolvedSetting]) -> Settings:
    """Return a run's settings for the trainer, from the rows that status prints.

    A row that is not there is a setting without a meaning in this run, or one that is newer than the run: it has the
    value that `Settings` gives it.

    Args:
        job: name of the TrainingJob.
        spec: what the user asked; long texts come from it.
        rows: what was resolved at the run's start.
    """
    values = {row.name: row.value for row in rows}
    given = {row.name for row in rows if row.source != "Default"}
    asked = spec.validation
    document: dict[str, Any] = {field: values[name] for field, name in _COURSE_ROWS.items() if values.get(name)}
    document["validation"] = {
        "prompts": asked.prompts if asked else None,
        "negative_prompt": (asked and asked.negative_prompt) or "",
        "image_encoder": asked.image_encoder if asked else None,
        **{field: values[f"validation.{name}"] for field, name in _VALIDATION_ROWS.items()},
    }
    if spec.concept_model is not None:
        document["concept_model"] = _read_concept_model(job, spec, values, given)
    else:
        document["embedding"] = _read_block("embedding", values, spec.embedding.as_json() if spec.embedding else {})
        if "embedding.placeholder" not in given:
            document["embedding"]["placeholder"] = name_placeholder(job, spec)
    return Settings.model_validate(document)


def _read_concept_model(job: str, spec: TrainingJobSpec, values: Mapping[str, str], given: set[str]) -> dict[str, Any]:
    asked = spec.concept_model
    if asked is None:
        return {}
    texts = {"captionPrefix": asked.caption_prefix} if asked.caption_prefix is not None else {}
    block = _read_block("conceptModel", values, texts)
    block["textEncoderLearningRate"] = block["textEncoderLearningRate"] or None
    block["embedding"] = block["prior"] = None
    if f"{PIVOTAL}.vectors" in values:
        block["embedding"] = _read_block(PIVOTAL, values, asked.embedding.as_json() if asked.embedding else {})
        if f"{PIVOTAL}.placeholder" not in given:
            block["embedding"]["placeholder"] = name_placeholder(job, spec)
    if f"{PRIOR}.weight" in values:
        prior = _read_block(PRIOR, values, {})
        prompt = (asked.prior_preservation and asked.prior_preservation.prompt) or ""
        block["prior"] = {"pictures": defaults.PRIOR_PICTURES, **prior, "prompt": prompt}
    return block


def _read_block(block: str, values: Mapping[str, str], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows right below a block by their own names, with what the spec says in place of what may be cut."""
    prefix = f"{block}."
    names = {name: name.removeprefix(prefix) for name in values if name.startswith(prefix)}
    return {**{own: values[name] for name, own in names.items() if "." not in own}, **texts}
