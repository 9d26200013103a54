"""Deletion of the object itself: with policy Delete, the run's data goes first, and the object is let go then.

Only objects that hold our finalizer come here with anything to do. The collect Job of a deletion has no owner
reference: a foreground deletion kills owned children first and would wait for ever for the finalizer that waits for
them. It begins when no training pod is left to write beside it. A namespace that is going away takes no new Jobs, and a
store may be gone for good: then the object is let go with an Event that names what is left behind.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from atelier_contract.base import digest_of
from atelier_contract.layout import NamespaceLayout
from atelier_contract.names import FINALIZER
from atelier_contract.reasons import Reason, State
from atelier_contract.roles import Role
from atelier_operator.model import Action, DeleteConfigMap, DeleteJob, EmitEvent, Plan, SetFinalizer, TrainingJobView
from atelier_operator.plan import state
from atelier_operator.plan.errands import explain_errand, look_after_errand
from atelier_operator.plan.inputs import build_whole_run_input
from atelier_operator.plan.launching import WAIT_SECONDS, launch
from atelier_operator.plan.look import Look, is_over
from atelier_operator.plan.run_children import build_errand_child
from atelier_operator.plan.state import Verdict

PATIENCE_SECONDS = 3600.0
"""How long a deletion is tried before the object is let go; DESIGN section 6."""


def decide_deletion(view: TrainingJobView, now: datetime) -> Plan:
    """Return the plan of an object that is being deleted."""
    if FINALIZER not in view.meta.finalizers or view.meta.deleted_at is None:
        return Plan(status=view.status, labels={"state": State.DELETING.value})
    if view.spec is None:
        return _release(view, _leave_behind(view, "its spec cannot be read"))
    look = Look(view, view.spec, now)
    if look.spec.deletion_policy != "Delete" or view.status.run_identity is None:
        return _release(view)
    if view.surroundings.namespace_terminating:
        return _release(view, _leave_behind(view, "its namespace is being deleted"))
    left = PATIENCE_SECONDS - look.seconds_since(view.meta.deleted_at)
    if left <= 0:
        return _release(view, _leave_behind(view, "it could not be deleted within an hour"))
    return _collect(look, left)


def _collect(look: Look, left_seconds: float) -> Plan:
    """Return the plan that ends what still runs, then deletes the run, then lets the object go."""
    view = look.view
    document = build_whole_run_input(look, view.status)
    errand = look_after_errand(look, view.status, Role.COLLECT, digest_of(document.as_json()))
    if errand.report is not None and errand.report.collect is not None:
        return _release(view, DeleteConfigMap(errand.name))
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
