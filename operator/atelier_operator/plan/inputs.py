"""What the pods are told: the documents of `atelier_contract.inputs`, from a look and its status. No cluster words."""

from __future__ import annotations

from collections.abc import Iterable

from atelier_contract.base import Document
from atelier_contract.dataset import DatasetSpec
from atelier_contract.identity import read_step
from atelier_contract.inputs import (
    BaseModelInput,
    CollectInput,
    DatasetInput,
    InspectInput,
    PublishInput,
    SelectedCheckpoint,
    StartFromInput,
    StoreInput,
    TrainingInput,
)
from atelier_contract.names import STORE_SECRET
from atelier_contract.references import StorageSpec
from atelier_contract.training_job_status import CheckpointStatus, TrainingJobStatus
from atelier_operator.model import DatasetView, Surroundings
from atelier_operator.plan.look import Look
from atelier_operator.plan.resolved import read_settings


def build_store_input(storage: StorageSpec | None, namespace: str, surroundings: Surroundings) -> StoreInput:
    """Return how a pod reaches its namespace's store, and whose it must be."""
    claim = storage.persistent_volume_claim if storage else None
    secret = storage.secret_ref if storage else None
    return StoreInput(
        kind="S3" if claim is None else "Volume",
        secret_name="" if claim is not None else (secret.name if secret else STORE_SECRET),
        volume_path=(claim.path or "") if claim else "",
        namespace=namespace,
        cluster_uid=surroundings.cluster_uid,
        namespace_uid=surroundings.namespace_uid,
    )


def build_inspect_input(view: DatasetView, spec: DatasetSpec) -> InspectInput:
    """Return the input of an inspection."""
    return InspectInput(
        store=build_store_input(spec.storage, view.meta.namespace, view.surroundings),
        dataset=DatasetInput(name=view.meta.name, source=spec.source, layout=spec.layout),
    )


def build_training_input(look: Look, status: TrainingJobStatus, dataset: DatasetSpec) -> TrainingInput:
    """Return the input of preflight and training: the run as it was pinned and resolved at its start."""
    spec = look.spec
    start = spec.start_from
    return TrainingInput(
        store=_store(look),
        job=look.meta.name,
        run_identity=status.run_identity or "",
        spec_digest=status.spec_digest or "",
        trainer_image=status.trainer_image or "",
        model_name=spec.model_name,
        slug=look.slug,
        type=spec.model_type,
        dataset=DatasetInput(name=spec.dataset_ref.name, source=dataset.source, revision=status.dataset_revision or ""),
        base_model=BaseModelInput(architecture=spec.base_model.architecture, source=spec.base_model.source),
        settings=read_settings(look.meta.name, spec, status.resolved or []),
        start_from=StartFromInput(job=start.training_job_ref.name, checkpoint=start.checkpoint) if start else None,
        prior_dataset=_build_prior_input(look, status),
    )


def _build_prior_input(look: Look, status: TrainingJobStatus) -> DatasetInput | None:
    """Return the dataset of prior pictures as it was pinned; None: none is named."""
    ref, dataset = look.spec.prior_dataset_ref, look.view.prior_dataset
    if ref is None or dataset is None:
        return None
    return DatasetInput(name=ref.name, source=dataset.spec.source, revision=status.prior_dataset_revision or "")


def build_publish_input(look: Look, status: TrainingJobStatus, selected: Iterable[CheckpointStatus]) -> PublishInput:
    """Return the input of a publication."""
    return PublishInput(
        store=_store(look),
        job=look.meta.name,
        run_identity=status.run_identity or "",
        model_name=look.spec.model_name,
        slug=look.slug,
        selection=_select(selected),
        publish=look.spec.publish,
    )


def build_collect_input(
    look: Look, status: TrainingJobStatus, *, kept: Iterable[CheckpointStatus], deleted: Iterable[CheckpointStatus]
) -> CollectInput:
    """Return the input of the deletion that finalize leads to."""
    return CollectInput(
        store=_store(look),
        job=look.meta.name,
        run_identity=status.run_identity or "",
        kept=_select(kept),
        deleted=_select(deleted),
    )


def build_whole_run_input(look: Look, status: TrainingJobStatus) -> Document:
    """Return the input of the deletion of everything below a run; published models are not below it."""
    return CollectInput(
        store=_store(look),
        job=look.meta.name,
        run_identity=status.run_identity or "",
        kept=[],
        deleted=[],
        whole_run=True,
    )


def _store(look: Look) -> StoreInput:
    return build_store_input(look.spec.storage, look.meta.namespace, look.view.surroundings)


def _select(rows: Iterable[CheckpointStatus]) -> list[SelectedCheckpoint]:
    chosen = [SelectedCheckpoint(step=read_step(row.name), sha256=row.sha256) for row in rows]
    return sorted(chosen, key=lambda row: row.step)
