"""A job in plain words: what it is, how far, what it has brought, what to do next.

In comes the object, out go lines for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atelier_contract.conditions import ConditionStatus
from atelier_contract.reasons import Condition, State
from atelier_contract.training_job import BaseModelSource, TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_materials.dataset.naming import escape_name
from atelier_studio.actions import tables
from atelier_studio.errors import find_page

Object = dict[str, Any]

INSTALL = "mend what the message names, then kubectl atelier publish {job} --to invokeai"
"""What a person does where InvokeAI did not take a model: nothing else tries it again."""
NEXT_STEPS: dict[str, str] = {
    State.INVALID: "mend what the message names in a new job: kubectl atelier clone {job} NEW",
    State.WAITING_FOR_DATASET: "kubectl get datasets shows it; kubectl atelier dataset push FOLDER makes one",
    State.PREFLIGHT: "wait: everything that can be missing is looked for before a GPU is asked for",
    State.SUSPENDED: "kubectl atelier resume {job}",
    State.QUEUED: "wait until the queue admits it",
    State.SCHEDULING: "wait for a free GPU, or give one back: kubectl atelier suspend OTHER",
    State.STARTING: "wait until the image is there: kubectl atelier logs {job}",
    State.PREPARING: "wait: kubectl atelier watch {job}",
    State.TRAINING: "kubectl atelier watch {job}; enough? kubectl atelier stop {job} keeps what is there",
    State.RESTARTING: "wait: it goes on from its last state",
    State.AWAITING_SELECTION: (
        "kubectl atelier samples {job}; kubectl atelier select {job} CHECKPOINT...; kubectl atelier finalize {job}"
    ),
    State.PUBLISHING: "wait until the selected models are copied and verified",
    State.COLLECTING: "a checkpoint can still be rescued in the grace time: kubectl atelier select {job} CHECKPOINT",
    State.FINALIZED: "kubectl atelier download {job}; kubectl atelier publish {job} --to FOLDER",
    State.FAILED: "kubectl atelier explain-failure {job}",
    State.DELETING: "wait: the run's checkpoints go with it",
    tables.PENDING: "wait a moment; if it stays so, ask the cluster's owner whether Atelier's operator runs",
}
"""What a person does next, by state."""


def name_next_step(job: str, status: TrainingJobStatus) -> str:
    """Return what to do next with a job as it stands."""
    state = tables.read_state(status)[0]
    if state == State.AWAITING_SELECTION and not status.checkpoints:
        # Stopped before the first one: there is nothing to look at, to select or to finalize.
        return f"train anew: kubectl atelier clone {job} NEW; or remove it: kubectl delete trainingjob {job}"
    return NEXT_STEPS.get(state, "kubectl atelier watch {job}").format(job=job)


def describe_job(body: Object, *, wide: bool = False) -> list[str]:
    """Return the lines that tell of a job.

    Args:
        body: the TrainingJob.
        wide: with every setting as it is used.
    """
    spec, status = tables.read_spec(body), tables.read_status(body)
    job = body["metadata"]["name"]
    state, message = tables.read_state(status)
    lines = [
        f"{job}: {describe_purpose(spec)}",
        f"  state        {state}: {message}" if message else f"  state        {state}",
    ]
    lines += [f"  {word:<12} {text}" for word, text in _list_facts(spec, status, state)]
    refusal = find_refused_install(status)
    if refusal:
        lines += [f"  {'InvokeAI':<12} {refusal.message}", f"  {'':<12} {INSTALL.format(job=job)}"]
    if status.checkpoints:
        lines += ["", *_indent(tables.CHECKPOINT_COLUMNS, tables.build_checkpoint_rows(status))]
    if status.models:
        lines += ["", "  published"]
        lines += [f"  {model.name}   {tables.format_size(model.bytes)}   {model.key}" for model in status.models]
    if wide and status.resolved:
        rows = [(one.name, one.value, one.source) for one in status.resolved]
        lines += ["", *_indent(("SETTING", "VALUE", "FROM"), rows)]
    lines += ["", f"next: {name_next_step(job, status)}"]
    page = find_page(state) if state in {State.FAILED, State.INVALID} else ""
    return [*lines, f"read on: {page}"] if page else lines


def find_refused_install(status: TrainingJobStatus) -> ConditionStatus | None:
    """Return the condition that tells why published models are not in InvokeAI; None where none was refused."""
    refused = (one for one in status.conditions if one.type == Condition.INSTALLED and one.status == "False")
    return next(refused, None)


def describe_purpose(spec: TrainingJobSpec) -> str:
    """Return what a job trains, in one phrase."""
    kind = "a concept model" if spec.concept_model is not None else "an embedding"
    name = escape_name(spec.model_name)
    return f'{kind} "{name}" for {spec.base_model.architecture} from the dataset {spec.dataset_ref.name}'


def describe_base(source: BaseModelSource) -> str:
    """Return where a base model lies, in one phrase."""
    if source.storage:
        return f"{source.storage.path} in the namespace's store"
    if source.persistent_volume_claim:
        claim = source.persistent_volume_claim
        return f"{claim.path or 'the root'} in the volume {claim.claim_name}"
    hub = source.hugging_face
    return f"{hub.repository} at {hub.revision[:12]}" if hub else "-"


def _list_facts(spec: TrainingJobSpec, status: TrainingJobStatus, state: str) -> Iterator[tuple[str, str]]:
    yield "base model", describe_base(spec.base_model.source)
    if spec.template_ref:
        yield "template", spec.template_ref.name
    used = {one.name: one.value for one in status.resolved or ()}
    rate, steps = used.get("learningRate", spec.learning_rate), used.get("steps", spec.steps)
    yield "learning", f"{steps or 'default'} steps at learning rate {rate or 'default'}"
    progress = tables.read_progress(status)
    if progress:
        left = "" if state in tables.OVER else _tell_left(progress.remaining_seconds)
        loss = f", loss {progress.loss}" if progress.loss else ""
        yield "progress", f"step {progress.step} of {progress.total_steps} ({progress.percent} %){loss}{left}"
    if status.estimate and status.estimate.storage_bytes:
        gpu = status.estimate.gpu_memory_bytes
        memory = f", {tables.format_size(gpu)} of GPU memory" if gpu else ""
        yield "estimate", f"{tables.format_size(status.estimate.storage_bytes)} for all checkpoints{memory}"
    for attempt in status.attempts or ():
        ended = attempt.reason or "runs"
        yield "attempt", f"steps {attempt.from_step} to {attempt.to_step}: {ended}" + _on(attempt.node)
    if status.kept:
        yield "kept", f"{status.kept} checkpoints are selected"
    if status.collection and not status.reclaimed_bytes:
        size = tables.format_size(status.collection.bytes)
        yield "deletion", f"{status.collection.checkpoints} checkpoints ({size}) from {status.collection.not_before} on"
    if status.reclaimed_bytes:
        yield "freed", tables.format_size(status.reclaimed_bytes)
    for condition in status.conditions:
        if condition.type == Condition.SELECTION_VALID and condition.status == "False" and condition.message:
            yield "selection", condition.message


def _tell_left(seconds: int | None) -> str:
    return "" if seconds is None else f", {tables.format_duration(seconds)} left"


def _on(node: str) -> str:
    return f" (on {node})" if node else ""


def _indent(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    return [
        "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]
