"""The dataset of prior pictures, read as the run's own dataset is."""

from __future__ import annotations

from atelier_contract.inputs import TrainingInput
from atelier_materials.errors import InvalidInput


def ask_for_prior(asked: TrainingInput) -> TrainingInput | None:
    """Return the input as if the run learned from the prior pictures; None where it names no dataset of them.

    Raises:
        InvalidInput: they lie where this pod cannot look: it has one volume and one foreign Secret, the dataset's own.
    """
    prior = asked.prior_dataset
    if prior is None:
        return None
    bucket, own = prior.source.s3, asked.dataset.source.s3
    is_foreign = bucket is not None and bucket.secret_ref is not None
    if is_foreign and not (own is not None and bucket is not None and own.secret_ref == bucket.secret_ref):
        reason = "in a bucket with a Secret of its own"
    elif prior.source.persistent_volume_claim is not None:
        reason = "in a volume"
    else:
        return asked.model_copy(update={"dataset": prior, "prior_dataset": None})
    raise InvalidInput(
        f"Dataset {prior.name} of conceptModel.priorPreservation.datasetRef lies {reason}, which a training pod does "
        "not mount beside its dataset's: upload its pictures (kubectl atelier dataset push), or leave datasetRef out "
        "and give a prompt"
    )
