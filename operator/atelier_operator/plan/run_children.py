"""The children of a TrainingJob: what preflight and training share, and the errands after them."""

from __future__ import annotations

from atelier_contract.base import Document
from atelier_contract.dataset import DatasetSpec
from atelier_contract.names import KEY_HUGGING_FACE_TOKEN
from atelier_contract.pods import PodSettings
from atelier_contract.roles import Role
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.plan.children import Child, Token
from atelier_operator.plan.inputs import build_training_input
from atelier_operator.plan.look import Look


def find_missing_dataset(look: Look) -> str:
    """Return the name of a dataset that the run needs to go on and that is no longer there; empty: all are there."""
    prior = look.spec.prior_dataset_ref
    if look.view.dataset is None:
        return look.spec.dataset_ref.name
    return prior.name if prior is not None and look.view.prior_dataset is None else ""


def build_run_child(look: Look, status: TrainingJobStatus, dataset: DatasetSpec, role: Role, name: str) -> Child:
    """Return the preflight or training child of a round, with the image that the run is pinned to."""
    return Child(
        owner=look.owner,
        name=name,
        role=role,
        image=status.trainer_image or look.view.surroundings.trainer_image,
        pull_policy=look.view.surroundings.image_pull_policy,
        document=build_training_input(look, status, dataset),
        storage=look.spec.storage,
        dataset=dataset.source,
        base_model=look.spec.base_model.source,
        token=_find_token(look),
        pod=look.spec.pod or PodSettings(),
    )


def build_errand_child(
    look: Look, role: Role, name: str, document: Document, *, token: Token | None = None, owned: bool = True
) -> Child:
    """Return the publish or collect child: these run with the operator's present image, whatever the run was pinned to.

    Args:
        look: this look.
        role: publish or collect.
        name: name of this try.
        document: its input.
        token: one more key that it needs.
        owned: False: without owner references.
    """
    return Child(
        owner=look.owner,
        name=name,
        role=role,
        image=look.view.surroundings.trainer_image,
        pull_policy=look.view.surroundings.image_pull_policy,
        document=document,
        storage=look.spec.storage,
        token=token,
        pod=look.spec.pod or PodSettings(),
        owned=owned,
    )


def _find_token(look: Look) -> Token | None:
    source = look.spec.base_model.source.hugging_face
    if source is None or source.token_secret_ref is None:
        return None
    return Token(source.token_secret_ref.name, KEY_HUGGING_FACE_TOKEN)
