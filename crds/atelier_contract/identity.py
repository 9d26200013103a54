"""Digests that say what is the same: the spec digest and the run identity; and the slug of a model's name.

Identity follows from what the user asked, not from resolved defaults, so that a chart upgrade with other defaults does
not train anything anew. How a run is placed (pod, queueName) and what happens after it (selection, publish, …) are not
part of it: they do not change the weights.
"""

from __future__ import annotations

import re
import unicodedata

from atelier_contract.base import digest_of
from atelier_contract.training_job import MUTABLE_FIELDS, TrainingJobSpec

NOT_IDENTITY = (*MUTABLE_FIELDS, "pod", "queueName")
SLUG_LENGTH = 48


def digest_spec(spec: TrainingJobSpec) -> str:
    """Return the sha256 of everything in the spec that decides the weights, runId included."""
    asked = {key: value for key, value in spec.as_json().items() if key not in NOT_IDENTITY}
    asked["runId"] = spec.run_id or ""
    return digest_of(asked)


def identify_run(spec_digest: str, dataset_revision: str, trainer_image: str, prior_revision: str = "") -> str:
    """Return the run identity: sha256 over spec digest, dataset revision, trainer image and any prior dataset's."""
    parts = [spec_digest, dataset_revision, trainer_image]
    return digest_of([*parts, prior_revision] if prior_revision else parts)


def slugify(model_name: str) -> str:
    """Return the file stem for a model's name: lower-case ASCII words joined by `-`, possibly empty.

    A name without any Latin letter or digit has an empty slug; the job's name is used then (see `layout`).
    """
    ascii_text = unicodedata.normalize("NFKD", model_name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:SLUG_LENGTH].strip("-")


def name_checkpoint(step: int) -> str:
    """Return a checkpoint's name: `step-` and at least six digits."""
    return f"step-{step:06d}"


def read_step(checkpoint: str) -> int:
    """Return the step of a checkpoint's name."""
    return int(checkpoint.removeprefix("step-"))
