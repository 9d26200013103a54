"""Deleting the object: what goes with it, what never does, and that nothing can hold it for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier_contract.inputs import CollectInput
from atelier_contract.names import FINALIZER, INPUT_FILE
from atelier_contract.reasons import Condition
from atelier_contract.roles import Role
from atelier_operator.model import DeleteConfigMap, DeleteJob, EmitEvent, SetFinalizer
from operator_builders import (
    a_collect_report,
    a_job,
    a_meta,
    a_pod,
    a_spec,
    a_surroundings,
    a_view,
    an_ended_pod,
    condition_of,
    created,
    later,
)
from plan_stages import Stage, at_preflight, at_running, at_selection, deleted_meta, deleting_spec, job_of, look_at

RELEASE = SetFinalizer(present=False)


def being_deleted(stage: Stage, **changes: object) -> Stage:
    """Delete the object, which holds our finalizer, and look."""
    return stage.then(**deleted_meta(stage), **changes)


def test_object_without_finalizer_is_left_alone() -> None:
    """An object that goes by itself is not touched: its children go by their owner references."""
    stage = at_selection().then(meta=a_meta(deleted_at=later(0)))
    assert stage.plan.actions == ()
    assert stage.status == stage.view.status


def test_deletion_collects_the_whole_run() -> None:
    """With policy Delete everything below the run goes; no list is sent that could name a published model."""
    stage = being_deleted(at_selection(deleting_spec()))
    (child,) = created(stage.plan)
    document = CollectInput.from_bytes(child.config_map["data"][INPUT_FILE].encode())
    assert document.whole_run is True
    assert (document.kept, document.deleted) == ([], [])
    assert condition_of(stage.plan, Condition.READY).reason == "Deleting"


def test_deletions_children_have_no_owner() -> None:
    """A foreground deletion kills owned children first: the deletion's Job and ConfigMap have no owner reference."""
    (child,) = created(being_deleted(at_selection(deleting_spec())).plan)
    assert "ownerReferences" not in child.job["metadata"]
    assert "ownerReferences" not in child.config_map["metadata"]


def test_object_goes_when_the_run_is_gone() -> None:
    """After the deletion the ConfigMap that nobody owns is removed, and the object is let go."""
    stage = being_deleted(at_selection(deleting_spec()))
    child = created(stage.plan)[0]
    done = stage.with_job(job_of(child, an_ended_pod(report=a_collect_report(10)), complete=True))
    assert done.plan.actions == (DeleteConfigMap(child.config_map["metadata"]["name"]), RELEASE)


def test_running_pods_end_first() -> None:
    """Training Jobs are deleted, and nothing is collected while a training pod could still write."""
    stage = being_deleted(at_running(deleting_spec()))
    assert stage.plan.actions == (DeleteJob("teapot-train-1", "teapot-train-1-uid"),)
    ending = stage.then(jobs=(), orphans=(a_pod(deleted_at=later(100)),))
    assert ending.plan.actions == ()
    assert ending.plan.look_again_seconds is not None
    assert len(created(ending.then(orphans=()).plan)) == 1


@pytest.mark.parametrize("role", [Role.PREFLIGHT, Role.PUBLISH])
def test_short_jobs_end_first_too(role: Role) -> None:
    """Nothing else of the run is at work while it is deleted."""
    stage = being_deleted(at_selection(deleting_spec()).with_job(a_job("teapot-other", role, a_pod("other"))))
    assert stage.plan.actions == (DeleteJob("teapot-other", "teapot-other-uid"),)


def test_failed_deletion_is_tried_again() -> None:
    """A deletion that failed is tried again under a new name, after a pause."""
    stage = being_deleted(at_selection(deleting_spec()))
    first = created(stage.plan)[0]
    failed = stage.with_job(job_of(first, an_ended_pod(code=1), failed=True))
    assert created(failed.plan) == []
    (second,) = created(failed.then(seconds=31).plan)
    assert second.job["metadata"]["name"] != first.job["metadata"]["name"]


def test_an_hour_is_enough() -> None:
    """A store that is gone for good does not hold the object: it goes, and an Event names what is left."""
    stage = being_deleted(at_selection(deleting_spec()))
    assert RELEASE not in stage.then(seconds=3599).plan.actions
    event, *_, release = stage.then(seconds=3601).plan.actions
    assert release == RELEASE
    assert isinstance(event, EmitEvent)
    assert f"team/runs/teapot/{(stage.status.run_identity or '')[:16]}" in event.message


def test_deletions_job_ends_before_the_object_goes() -> None:
    """A Job that outlived its object would delete the run of one created again: it ends first, then the object goes."""
    stage = being_deleted(at_selection(deleting_spec()))
    job = job_of(created(stage.plan)[0], a_pod("collecting"))
    ending = stage.with_job(job, seconds=3601)
    assert ending.plan.actions == (DeleteJob(job.name, job.uid),)
    assert ending.plan.look_again_seconds is not None
    assert RELEASE in ending.then(jobs=()).plan.actions


def test_policy_changed_during_the_deletion_ends_it() -> None:
    """Retain, said while the data is being deleted, ends the Job that deletes it."""
    stage = being_deleted(at_selection(deleting_spec()))
    job = job_of(created(stage.plan)[0], a_pod("collecting"))
    kept = stage.with_job(job).edit(deletion_policy="Retain")
    assert kept.plan.actions == (DeleteJob(job.name, job.uid),)


def test_pods_end_before_the_object_goes() -> None:
    """After the hour, too, no training pod is left to write beside a run that is created again."""
    writing = a_pod(deleted_at=later(3700))
    stage = being_deleted(at_selection(deleting_spec())).then(seconds=3601, orphans=(writing,))
    assert stage.plan.actions == ()
    assert RELEASE in stage.then(orphans=()).plan.actions


def test_job_that_cannot_end_does_not_hold_the_object_for_ever() -> None:
    """Ten minutes after the hour the object goes, whatever is left."""
    stage = being_deleted(at_selection(deleting_spec()))
    job = job_of(created(stage.plan)[0], a_pod("collecting"), deleted_at=later(0))
    assert RELEASE in stage.with_job(job, seconds=4201).plan.actions


def test_no_input_of_a_deletion_is_left() -> None:
    """Each try has its own ConfigMap without an owner: all of them go with the object."""
    stage = being_deleted(at_selection(deleting_spec()))
    first = created(stage.plan)[0]
    second = created(stage.with_job(job_of(first, an_ended_pod(code=1), failed=True)).then(seconds=31).plan)[0]
    tries = [DeleteConfigMap(child.config_map["metadata"]["name"]) for child in (first, second)]
    tried = stage.with_job(job_of(first, an_ended_pod(code=1), failed=True)).then(seconds=31)
    done = tried.with_job(job_of(second, an_ended_pod(report=a_collect_report(10)), complete=True))
    assert done.plan.actions == (*tries, RELEASE)


def test_deletion_of_a_recreated_object_has_a_name_of_its_own() -> None:
    """A finished Job without an owner stays for a day: it is not in the way of the next object of this name."""
    first = created(being_deleted(at_selection(deleting_spec())).plan)[0]
    again = being_deleted(at_selection(deleting_spec()))
    reborn = replace(again.view, meta=replace(again.view.meta, uid="another-uid"), jobs=())
    assert first.job["metadata"]["name"] != created(look_at(reborn).plan)[0].job["metadata"]["name"]


def test_terminating_namespace_is_not_held() -> None:
    """A namespace that is going away takes no new Job: the object is let go at once, with the Event."""
    stage = being_deleted(at_selection(deleting_spec()), surroundings=a_surroundings(namespace_terminating=True))
    assert [type(action) for action in stage.plan.actions] == [EmitEvent, SetFinalizer]


def test_run_that_never_started_has_nothing_to_delete() -> None:
    """Without an identity there is no prefix: the object is let go at once, without an Event."""
    view = a_view(deleting_spec(), meta=a_meta(finalizers=(FINALIZER,), deleted_at=later(0)))
    assert look_at(view).plan.actions == (RELEASE,)


def test_policy_changed_to_retain_keeps_the_data() -> None:
    """The policy that holds at the deletion decides."""
    stage = at_selection(deleting_spec()).edit(deletion_policy="Retain")
    actions = being_deleted(stage).plan.actions
    assert actions[-1] == RELEASE
    assert {type(action) for action in actions} == {DeleteConfigMap, SetFinalizer}


def test_unreadable_object_is_let_go() -> None:
    """An object whose spec cannot be read is not held: what is left is named."""
    stage = at_selection(deleting_spec())
    gone = being_deleted(stage, spec=None, problem="spec: unreadable")
    assert [type(action) for action in gone.plan.actions] == [EmitEvent, SetFinalizer]


def test_finalizer_follows_the_policy() -> None:
    """Delete sets the finalizer and Retain takes it off, at any time."""
    plain = at_selection(a_spec())
    held = plain.edit(deletion_policy="Delete")
    assert SetFinalizer(present=True) in held.plan.actions
    meta = replace(held.view.meta, finalizers=(FINALIZER,))
    assert held.then(meta=meta).plan.actions == ()
    assert RELEASE in held.then(meta=meta).edit(deletion_policy=None).plan.actions


def test_no_child_is_made_for_a_dying_object() -> None:
    """An object that is deleted before its first child never gets one."""
    view = at_preflight(deleting_spec()).view
    assert created(look_at(replace(view, meta=a_meta(deleted_at=later(0)))).plan) == []
