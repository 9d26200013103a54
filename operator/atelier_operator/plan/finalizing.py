"""After training: the selection is awaited, published, verified; then, after the grace time, the rest is deleted.

Order is everything here. Nothing is deleted before every selected checkpoint is published with the digest that was
recorded for it; the grace time begins when a selection is first seen and begins again when it changes; `startedAt` and
the rows to delete are written before the Job that deletes them is created, and from then on only those rows go.

What was published stays, also where it is deselected in the grace time: it may be in use. So the Job of an earlier
selection is waited for, and what it brought is listed, before anything is published or deleted for the one of now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atelier_contract.base import digest_of
from atelier_contract.inputs import PublishInput
from atelier_contract.names import KEY_INVOKEAI_TOKEN
from atelier_contract.reasons import Condition, Reason, State
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator.model import DeleteJob, ObservedJob, ObservedPod
from atelier_operator.plan import conditions
from atelier_operator.plan.checkpoints import find_rows, mark_states
from atelier_operator.plan.children import Child, Token
from atelier_operator.plan.collection import begin_collection, follow_collection, set_clock
from atelier_operator.plan.errands import Errand, explain_errand, look_after_errand, name_tries
from atelier_operator.plan.failures import find_report
from atelier_operator.plan.inputs import build_publish_input
from atelier_operator.plan.instants import read_time, seconds_between
from atelier_operator.plan.launching import launch
from atelier_operator.plan.look import Look, is_active, is_over
from atelier_operator.plan.models import add_models, describe_model
from atelier_operator.plan.run_children import build_errand_child
from atelier_operator.plan.selection import Choice, judge_selection
from atelier_operator.plan.state import Verdict


def record_selection(look: Look, status: TrainingJobStatus) -> tuple[TrainingJobStatus, Choice]:
    """Return the status with the selection judged and marked, and the selection."""
    choice = judge_selection(look, status)
    if not _is_settled(status):
        status = _take_earlier(look, status, choice)
        status = look.claim(status, Condition.SELECTION_VALID, choice.valid, choice.reason, choice.message)
    wanted = frozenset(choice.names) if choice.reason is not Reason.FINALIZE_AT_CREATION else frozenset()
    return mark_states(status, wanted), choice


def decide_finalizing(look: Look, status: TrainingJobStatus, choice: Choice) -> Verdict:
    """Return the verdict of a run whose training is complete.

    Args:
        look: this look.
        status: with the selection recorded.
        choice: the selection.
    """
    if conditions.is_true(status, Condition.FINALIZED):
        return Verdict(status, State.FINALIZED, _explain_end(status))
    if status.collection is not None and status.collection.started_at is not None:
        return follow_collection(look, status)
    if not choice.acts:
        status = status.model_copy(update={"collection": None})
        status = look.claim(status, Condition.FINALIZED, False, Reason.NOT_ASKED, "")
        return Verdict(status, State.AWAITING_SELECTION, _explain_wait(status, choice))
    status = set_clock(look, status, choice)
    status = look.claim(status, Condition.FINALIZED, False, Reason.IN_PROGRESS, "")
    unfinished = _await_earlier(look, status, choice)
    if unfinished is None:
        status, unfinished = _publish(look, status, choice)
    if unfinished is not None:
        return unfinished
    clock = status.collection
    wait = seconds_between(look.now, read_time(clock.not_before)) if clock else 0.0
    if clock is not None and wait > 0:
        message = (
            f"{clock.checkpoints} unselected checkpoints are deleted after {clock.not_before}: until then the"
            " selection can change"
        )
        return Verdict(status, State.COLLECTING, message, look_again_seconds=wait)
    return begin_collection(look, status, choice)


def _list_earlier(look: Look, status: TrainingJobStatus, choice: Choice) -> list[ObservedJob]:
    """Return the publishing Jobs of any selection but the one of now."""
    rows = [row for row in status.checkpoints or [] if row.name in choice.names]
    wish = digest_of(build_publish_input(look, status, rows).as_json()) if choice.acts else ""
    own = name_tries(look, Role.PUBLISH, wish, status.failures or 0)
    return [job for job in look.own_jobs(Role.PUBLISH) if job.name not in own]


def _take_earlier(look: Look, status: TrainingJobStatus, choice: Choice) -> TrainingJobStatus:
    """Return the status with what was published for earlier selections, as far as it is what was recorded."""
    for job in _list_earlier(look, status, choice):
        report = find_report(job) if job.complete else None
        steps = {model.step for model in report.publish.models} if report and report.publish else set()
        names = [row.name for row in status.checkpoints or [] if row.step in steps]
        if report is not None and names and not _find_unverified(status, names, report):
            status = _list_models(look, status, report)
    return status


def _await_earlier(look: Look, status: TrainingJobStatus, choice: Choice) -> Verdict | None:
    """Return the verdict while a Job still publishes an earlier selection; one that has not begun is taken back."""
    left = [job for job in _list_earlier(look, status, choice) if not is_over(job)]
    if not left:
        return None
    idle = [job for job in left if not any(_is_at_work(look, pod) for pod in job.pods)]
    message = f"Job {left[0].name} still publishes an earlier selection; this one follows"
    return Verdict(status, State.PUBLISHING, message, actions=tuple(DeleteJob(job.name, job.uid) for job in idle))


def _is_at_work(look: Look, pod: ObservedPod) -> bool:
    """Return whether a pod may still publish, or has done so and its Job is only not closed yet."""
    is_running = is_active(pod) and pod.started_at is not None and not look.is_lost(pod)
    return is_running or pod.phase == "Succeeded"


def _publish(look: Look, status: TrainingJobStatus, choice: Choice) -> tuple[TrainingJobStatus, Verdict | None]:
    """Return the status with what is published, and a verdict unless every selected checkpoint is."""
    rows = [row for row in status.checkpoints or [] if row.name in choice.names]
    if all(row.state == "Published" for row in rows):
        return status, None
    document = build_publish_input(look, status, rows)
    errand = look_after_errand(look, status, Role.PUBLISH, digest_of(document.as_json()))
    if errand.report is not None:
        problem = _find_unverified(status, choice.names, errand.report)
        if not problem:
            status = mark_states(_take_models(look, status, errand.report), frozenset(choice.names))
            return _claim_installed(look, status, errand.report), None
        errand = replace(errand, report=None, problem=problem, failures=errand.failures + 1, wait_seconds=0.0)
    status = status.model_copy(update={"failures": errand.failures or None})
    verdict = explain_errand(look, status, errand, State.PUBLISHING, Reason.PUBLISH_FAILED)
    if errand.running is not None or errand.wait_seconds is not None:
        return status, verdict
    return status, launch(look, verdict, _build_publish_child(look, errand, document))


def _build_publish_child(look: Look, errand: Errand, document: PublishInput) -> Child:
    invoke_ai = look.spec.publish.invoke_ai if look.spec.publish else None
    credentials = invoke_ai.credentials_secret_ref if invoke_ai else None
    token = Token(credentials.name, KEY_INVOKEAI_TOKEN) if credentials else None
    return build_errand_child(look, Role.PUBLISH, errand.name, document, token=token)


def _find_unverified(status: TrainingJobStatus, names: Iterable[str], report: TerminationReport) -> str:
    """Return which of these checkpoints was not published as it was recorded; empty: all were."""
    published, wanted = report.publish.models if report.publish else [], set(names)
    for row in status.checkpoints or []:
        if row.name not in wanted:
            continue
        made = [model.sha256 for model in published if model.step == row.step]
        if not made:
            return f"publish did not report {row.name}: nothing is deleted before it is published"
        # A checkpoint may have several files; the recorded digest is that of the first. Either may be shortened.
        if not any(sha256.startswith(row.sha256) or row.sha256.startswith(sha256) for sha256 in made):
            return f"{row.name} was published with another digest than the recorded one: nothing is deleted"
    return ""


def _take_models(look: Look, status: TrainingJobStatus, report: TerminationReport) -> TrainingJobStatus:
    """Return the status with the published models listed, and no failure counted any more."""
    return _list_models(look, status, report).model_copy(update={"failures": None})


def _list_models(look: Look, status: TrainingJobStatus, report: TerminationReport) -> TrainingJobStatus:
    published = report.publish.models if report.publish else []
    return add_models(status, [describe_model(look, status, row.step, row.sha256, row.bytes) for row in published])


def _claim_installed(look: Look, status: TrainingJobStatus, report: TerminationReport) -> TrainingJobStatus:
    """Return the status with Installed where the user asked for it; it never blocks what follows."""
    if look.spec.publish is None or look.spec.publish.invoke_ai is None:
        return status
    installed = report.publish is not None and report.publish.installed is True
    reason = Reason.AS_EXPECTED if installed else Reason.PUBLISH_FAILED
    return look.claim(status, Condition.INSTALLED, installed, reason, report.message)


def _is_settled(status: TrainingJobStatus) -> bool:
    """Return whether the selection can no longer change anything: deletion has started, or is long over."""
    if conditions.is_true(status, Condition.FINALIZED):
        return True
    return status.collection is not None and status.collection.started_at is not None


def _explain_wait(status: TrainingJobStatus, choice: Choice) -> str:
    if choice.valid is False:
        return choice.message
    count = len(find_rows(status, "Available", "Selected"))
    if not count:
        return "the run ended before its first checkpoint: there is nothing to select"
    return "look at the checkpoints, select the ones to keep in spec.selection, then finalize"


def _explain_end(status: TrainingJobStatus) -> str:
    return f"{status.kept or '0/0'} checkpoints are published; {status.reclaimed_bytes or 0} bytes were freed"
