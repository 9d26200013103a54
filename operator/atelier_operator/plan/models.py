"""The table of published models: where each lies, under which name tools know it, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable

from atelier_contract.identity import name_checkpoint
from atelier_contract.layout import NamespaceLayout
from atelier_contract.termination import SHORT_DIGEST
from atelier_contract.training_job_status import ModelStatus, TrainingJobStatus
from atelier_operator.plan.look import Look

_WEIGHTS = ".safetensors"


def describe_model(look: Look, status: TrainingJobStatus, step: int, sha256: str, size_bytes: int) -> ModelStatus:
    """Return a published model.

    Args:
        look: this look.
        status: names the run.
        step: step of the checkpoint it was made from.
        sha256: digest of the file, or the first 16 hex digits of it; the key has eight.
        size_bytes: size of the file.

    Returns:
        The model. Its key is told without the bucket's own prefix, which only the Secret knows.
    """
    run = NamespaceLayout(look.meta.namespace).run(look.meta.name, status.run_identity or "")
    key = run.model(look.slug, step, sha256, _WEIGHTS)
    stem = key.rpartition("/")[2].removesuffix(_WEIGHTS)
    return ModelStatus(name=stem, checkpoint=name_checkpoint(step), key=key, sha256=sha256, bytes=size_bytes)


def add_models(status: TrainingJobStatus, models: Iterable[ModelStatus]) -> TrainingJobStatus:
    """Return the status with these models listed, each once."""
    # Not by key: a status that grew too large is written without the keys of its models.
    listed = {(model.checkpoint, model.sha256[:SHORT_DIGEST]): model for model in (*(status.models or []), *models)}
    return status.model_copy(update={"models": [listed[key] for key in sorted(listed)]}) if listed else status
