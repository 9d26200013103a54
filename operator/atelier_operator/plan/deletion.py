"""Deletion of the object itself: with policy Delete, the run's data goes first, and the object is let go then.

Only objects that hold our finalizer come here with anything to do. The collect Job of a deletion has no owner
reference: a foreground deletion kills owned children first and would wait for ever for the finalizer that waits for
them. It begins when no training pod is left to write beside it. A namespace that is going away takes no new Jobs, and a
store may be gone for good: then the object is let go with an Event that names what is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from atelier_contract.base import digest_of
from atelier_contract.layout import NamespaceLayout
from atelier_contract.names import FINALIZER
from atelier_contract.reasons import Reason, State
from atelier_contract.roles import Role
from atelier_operator.model import (
    Action,
    DeleteConfigMap,
    DeleteJob,
    EmitEvent,
    ObservedPod,
    Plan,
    SetFinalizer,
    TrainingJobView,
)
from atelier_operator.plan import state
from atelier_operator.plan.errands import explain_errand, look_after_errand, name_tries
from atelier_operator.plan.inputs import build_whole_run_input
from atelier_operator.plan.instants import seconds_between
from atelier_operator.plan.launching import WAIT_SECONDS, launch
from atelier_operator.plan.look import Look, is_over
from atelier_operator.plan.run_children import build_errand_child
from atelier_operator.plan.state import Verdict

PATIENCE_SECONDS = 3600.0
"""How long a deletion is tried before the object is let go; DESIGN section 6."""
_LAST_SECONDS = 600.0
"""How much longer, at most, what was at work then may take to end; longer than a pod's grace in nearly every case."""


def decide_deletion(view: TrainingJobView, now: datetime) -> Plan:
    """Return the plan of an object that is being deleted."""
    if FINALIZER not in view.meta.finalizers or view.meta.deleted_at is None:
        return Plan(status=view.status, labels={"state": State.DELETING.value})
    if view.spec is None:
        return _let_go(view, now, _leave_behind(view, "its spec cannot be read"))
    look = Look(view, view.spec, now)
    if look.spec.deletion_policy != "Delete" or view.status.run_identity is None:
        return _let_go(view, now, *_clear_inputs(look))
    if view.surroundings.namespace_terminating:
        return _release(view, _leave_behind(view, "its namespace is being deleted"))
    left = PATIENCE_SECONDS - look.seconds_since(view.meta.deleted_at)
    if left > 0:
        return _collect(look, left)
    event = _leave_behind(view, "it could not be deleted within an hour")
    return _let_go(view, now, event, *_clear_inputs(look), writing=look.list_unfenced())


def _let_go(view: TrainingJobView, now: datetime, *before: Action, writing: Sequence[ObservedPod] = ()) -> Plan:
    """Return the plan that lets the object go without its data, once nothing of it is at work any more.

    The deletion's Job has no owner: left alive, it would delete the run of an object that is created again. A Job or a
    pod that cannot be ended holds the object for ten minutes more than a deletion may take, not for ever.

    Args:
        view: an object that is being deleted.
        now: the time of this look.
        before: what is done just before the object goes.
        writing: training pods that may still be at work.
    """
    alive = [job for job in view.jobs if job.owner_uid == view.meta.uid and not is_over(job)]
    since = seconds_between(view.meta.deleted_at, now) if view.meta.deleted_at else 0.0
    if not (alive or writing) or since > PATIENCE_SECONDS + _LAST_SECONDS:
        return _release(view, *before)
    ends = tuple(DeleteJob(job.name, job.uid) for job in alive if job.deleted_at is None)
    labels = {"state": State.DELETING.value}
    return Plan(status=view.status, actions=ends, look_again_seconds=WAIT_SECONDS, labels=labels)


def _clear_inputs(look: Look) -> list[Action]:
    """Return the deletion of the ConfigMaps that nobody owns: one for each try to delete the run."""
    if look.view.status.run_identity is None:
        return []
    wish = digest_of(build_whole_run_input(look, look.view.status).as_json())
    tries = name_tries(look, Role.COLLECT, wish, look.view.status.failures or 0)
    return [DeleteConfigMap(name) for name in tries]


def _collect(look: Look, left_seconds: float) -> Plan:
    """Return the plan that ends what still runs, then deletes the run, then lets the object go."""
    view = look.view
    document = build_whole_run_input(look, view.status)
    errand = look_after_errand(look, view.status, Role.COLLECT, digest_of(document.as_json()))
    if errand.report is not None and errand.report.collect is not None:
        return _release(view, *_clear_inputs(look))
    mine = {errand.name} | ({errand.running.name} if errand.running else set())
    busy = [job for job in look.own_jobs() if not is_over(job) and job.name not in mine]
    pods = look.list_unfenced()
    if busy or pods:
        names = ", ".join(sorted({job.name for job in busy} | {pod.name for pod in pods}))
        ends = tuple(DeleteJob(job.name, job.uid) for job in busy if job.deleted_at is None)
        message = f"waiting for {names} to end before the run's checkpoints are deleted"
        verdict = Verdict(view.status, State.DELETING, message, actions=ends, look_again_seconds=WAIT_SECONDS)
        return state.conclude(view, verdict, look.now)
    status = view.status.model_copy(update={"failures": errand.failures or None})
    verdict = explain_errand(look, status, errand, State.DELETING, Reason.COLLECT_FAILED)
    if errand.running is None and errand.wait_seconds is None:
        child = build_errand_child(look, Role.COLLECT, errand.name, document, owned=False)
        verdict = launch(look, verdict, child)
    waits = [left_seconds, *([verdict.look_again_seconds] if verdict.look_again_seconds is not None else [])]
    return state.conclude(view, replace(verdict, look_again_seconds=min(waits)), look.now)


def _release(view: TrainingJobView, *before: Action) -> Plan:
    """Return the plan that lets the object go. Its status is not written any more: it may be gone with this."""
    return Plan(
        status=view.status, actions=(*before, SetFinalizer(present=False)), labels={"state": State.DELETING.value}
    )


def _leave_behind(view: TrainingJobView, why: str) -> EmitEvent:
    identity = view.status.run_identity
    layout = NamespaceLayout(view.meta.namespace)
    prefix = layout.run(view.meta.name, identity).key() if identity else layout.runs(view.meta.name)
    message = f"the run's checkpoints are left in the store under {prefix} (below the store's own prefix): {why}"
    return EmitEvent("Warning", Reason.COLLECT_FAILED.value, message)
