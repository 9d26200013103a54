"""Why a job failed or does not go on: put together from its conditions, attempts, pods' last words, events and log.

In come documents of the cluster, out go lines for people, the most telling first. Whatever is gone by now (pods go
after a day, events after an hour) is left out: conditions and attempts stay with the job.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from atelier_contract import names
from atelier_contract.conditions import ConditionStatus
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_studio.actions import describing, tables
from atelier_studio.errors import find_page

if TYPE_CHECKING:
    from atelier_contract.termination import TerminationReport

Object = dict[str, Any]
SHOWN_EVENTS = 5
LOG_LINES = 12
"""Lines of the log's end: a Python traceback's last frames and its error."""
INSTALL_PAGE = "docs/how-to/publish-to-invokeai.md"
CLONE = "kubectl atelier clone {job} NEW"
RETRY = "kubectl atelier retry {job}"
ADVICE: dict[str, str] = {
    Reason.INVALID_INPUT: f"a job is fixed once it is made, so mend it in another one: {CLONE} --set FIELD=VALUE",
    Reason.DATASET_UNUSABLE: "kubectl atelier dataset check FOLDER names each file to mend; push it again, then "
    + RETRY,
    Reason.DATASET_CHANGED: f"put the pictures back as they were and {RETRY}, or train on what is there now: {CLONE}",
    Reason.BASE_MODEL_UNUSABLE: "put the base model where the job looks for it (kubectl atelier base-model push), then "
    f"{RETRY}; or name another one: {CLONE} --base-model PATH",
    Reason.OUT_OF_MEMORY: f"ask for less at once: {CLONE} --set tuning.microBatchSize=1, or --set "
    "tuning.quantization=8bit, or a smaller tuning.resolution",
    Reason.OUT_OF_HOST_MEMORY: f"give the pod more memory: {CLONE} --set pod.memory=32Gi",
    Reason.DIVERGED: f"learn more slowly, from the last good checkpoint: {CLONE} --learning-rate A-THIRD-OF-IT "
    "--start-from CHECKPOINT",
    Reason.STORAGE_UNAVAILABLE: f"when the store answers again: {RETRY}; it goes on from the last state",
    Reason.STORAGE_NOT_CONFIGURED: f"mend the Secret that the message names, then {RETRY}",
    Reason.STORAGE_OWNED_BY_ANOTHER: "ask the cluster's owner: the store belongs to another cluster or namespace",
    Reason.RETRIES_EXHAUSTED: f"mend what the last words below name, then {RETRY}",
    Reason.START_DEADLINE_EXCEEDED: "ask the cluster's owner whether nodes can pull the trainer image, then " + RETRY,
    Reason.DEADLINE_EXCEEDED: f"allow more time: {CLONE} --set pod.deadlineSeconds=SECONDS --start-from CHECKPOINT",
    Reason.PREFLIGHT_FAILED: f"mend what the message names, then {RETRY}",
    Reason.PUBLISH_FAILED: "nothing is lost and nothing was deleted: it is tried again with growing pauses",
    Reason.COLLECT_FAILED: "nothing selected is touched: the deletion is tried again with growing pauses",
    Reason.NAME_TAKEN: "delete the object that the message names, or give the job another name: " + CLONE,
    Reason.CREATE_REFUSED: "ask the cluster's owner: a quota or a policy refuses what the job needs",
    Reason.TRAINER_ERROR: f"{RETRY} goes on from the last state; if it fails again, please report the log below",
}
"""What a person does about a reason."""


@dataclass(frozen=True)
class Evidence:
    """What the cluster still holds about a job.

    Attributes:
        body: the TrainingJob.
        pods: its pods, oldest first.
        events: about the job and its pods, oldest first.
        log: the end of the last pod's log.
    """

    body: Object
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    log: Sequence[str] = ()


def find_fault(status: TrainingJobStatus) -> ConditionStatus | None:
    """Return the condition that tells why a job failed or does not go on; None where nothing is wrong."""
    held = {condition.type: condition for condition in status.conditions if condition.status == "True"}
    return held.get(Condition.FAILED) or held.get(Condition.STALLED)


def find_last_pod(pods: Sequence[Object]) -> Object | None:
    """Return the pod whose end tells most: the newest that failed, else the newest."""
    failed = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    return next(reversed(failed or list(pods)), None)


def explain(evidence: Evidence) -> list[str]:
    """Return the lines that explain a job's failure, or that nothing is wrong with it."""
    status = tables.read_status(evidence.body)
    job = evidence.body["metadata"]["name"]
    state, message = tables.read_state(status)
    fault = find_fault(status)
    reason = fault.reason if fault else _find_other_reason(status, state)
    refusal = describing.find_refused_install(status)
    if not reason and refusal:
        return [
            f"{job} is {state}, and not all of its models are in InvokeAI:",
            f"  {refusal.message}",
            f"  since {refusal.last_transition_time}",
            "",
            f"what to do: {describing.INSTALL.format(job=job)}",
            f"read on: {INSTALL_PAGE}",
        ]
    if not reason:
        return [
            f"nothing is wrong with {job}: it is {state}" + (f" ({message})" if message else ""),
            f"next: {describing.name_next_step(job, status)}",
        ]
    lines = [f"{job} {_tell_state(state)}: {reason}"]
    told = (fault.message if fault else "") or message or reason
    lines += [f"  {told}"] if told != reason else []
    lines += [f"  since {fault.last_transition_time}"] if fault else []
    for title, rows in (
        ("attempts", list(_list_attempts(status))),
        ("last words of its pods", list(list_last_words(evidence.pods))),
        ("events", [tell_event(event) for event in evidence.events if event.get("message") != told][-SHOWN_EVENTS:]),
        ("end of the log", [line for line in evidence.log if line.strip()][-LOG_LINES:]),
    ):
        # The same sentence travels from the log through last words and events into the condition: once is enough.
        lines += ["", title, *(f"  {row.replace(told, '(as above)')}" for row in rows)] if rows else []
    if not evidence.pods:
        lines += ["", "its pods are gone, and their logs with them: they are kept for a day"]
    advice = ADVICE.get(reason, f"kubectl atelier describe {job}").format(job=job)
    lines += ["", f"what to do: {advice}"]
    page = find_page(reason)
    return [*lines, f"read on: {page}"] if page else lines


def _find_other_reason(status: TrainingJobStatus, state: str) -> str:
    """Return the reason of what is not a failure yet but keeps a job from going on."""
    if state in {State.WAITING_FOR_DATASET, State.INVALID}:
        return state
    for condition in status.conditions:
        if condition.type == Condition.SELECTION_VALID and condition.status == "False":
            return condition.reason
    return ""


def _tell_state(state: str) -> str:
    if state == State.FAILED:
        return "has failed"
    return "cannot be done" if state == State.INVALID else f"does not go on ({state})"


def _list_attempts(status: TrainingJobStatus) -> Iterator[str]:
    for number, attempt in enumerate(status.attempts or (), 1):
        where = f" on {attempt.node}" if attempt.node else ""
        ran = tables.format_duration(attempt.seconds)
        yield f"{number}. steps {attempt.from_step} to {attempt.to_step} in {ran}{where}: {attempt.reason or 'runs'}"


def list_last_words(pods: Sequence[Object]) -> Iterator[str]:
    """Yield what each pod said when it ended, and how it ended where it said nothing."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in pod.get("status", {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated")
            waiting = (container.get("state") or {}).get("waiting")
            if waiting and waiting.get("message"):
                yield f"{name}: {waiting.get('reason')}: {waiting['message']}"
            if not ended or container.get("name") != names.CONTAINER:
                continue
            report = read_report(ended.get("message") or "")
            if report and (report.message or report.reason != Reason.COMPLETED) and ended.get("exitCode"):
                yield f"{name}: {report.reason} (exit code {ended['exitCode']}): {report.message}".rstrip(": ")
            elif not report and ended.get("exitCode"):
                yield f"{name}: {ended.get('reason') or 'ended'} with exit code {ended['exitCode']}, without a word"


def read_report(message: str) -> TerminationReport | None:
    """Return a pod's termination message; None where it is none of ours."""
    from atelier_contract.termination import TerminationReport  # noqa: PLC0415  (only this verb reads last words)

    try:
        return TerminationReport.model_validate_json(message)
    except ValidationError:
        return None


def tell_event(event: Object) -> str:
    """Return an event in one line: how often, about what, why, and what it says."""
    about = event.get("involvedObject") or {}
    count = event.get("count") or 1
    times = f" ({count} times)" if count > 1 else ""
    text = str(event.get("message") or "").strip().replace("\n", " ")
    return f"{str(about.get('kind', '')).lower()}/{about.get('name')}: {event.get('reason')}{times}: {text}"
