"""After training: the selection judged, published and verified; the grace time; and exactly what is deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier_contract.inputs import CollectInput, PublishInput
from atelier_contract.names import ANNOTATION_RETRY_REQUESTED_AT, INPUT_FILE, KEY_INVOKEAI_TOKEN, LABEL_ROLE, TOKEN_DIR
from atelier_contract.publishing import PublishSpec
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.training_job import RetentionSpec, SelectionSpec
from atelier_operator.model import CreateJob, EmitEvent, ObservedJob
from atelier_operator.plan.errands import pause_after
from operator_builders import (
    NOW,
    a_collect_report,
    a_job,
    a_pod,
    a_publish_report,
    a_report,
    a_spec,
    a_train_report,
    an_ended_pod,
    condition_of,
    created,
    later,
)
from plan_stages import Stage, at_collecting, at_grace, at_publishing, at_running, at_selection, choose, job_of


def state_of(stage: Stage) -> str:
    """The state word that the plan writes."""
    return condition_of(stage.plan, Condition.READY).reason


def states(stage: Stage) -> dict[int, str]:
    """The state of each checkpoint, by step."""
    return {row.step: row.state for row in stage.status.checkpoints or []}


def publish_input(child: CreateJob) -> PublishInput:
    """What a publish child is told."""
    return PublishInput.from_bytes(child.config_map["data"][INPUT_FILE].encode())


def collect_input(child: CreateJob) -> CollectInput:
    """What a collect child is told."""
    return CollectInput.from_bytes(child.config_map["data"][INPUT_FILE].encode())


def failed(child: CreateJob, *, seconds: float = 0.0) -> ObservedJob:
    """The Job of a child whose one pod has failed."""
    role = Role(child.job["metadata"]["labels"][LABEL_ROLE])
    words = a_report(role, Reason.TRAINER_ERROR, message="it broke")
    return job_of(child, an_ended_pod(code=1, report=words, finished_at=later(seconds)), failed=True)


def test_nothing_selected_is_awaited() -> None:
    """Without a selection a completed run is Ready and waits; SelectionValid cannot be told."""
    stage = at_selection()
    assert condition_of(stage.plan, Condition.SELECTION_VALID).status == "Unknown"
    assert state_of(stage) == "AwaitingSelection"
    assert created(stage.plan) == []


def test_selection_is_marked_and_waits_for_finalize() -> None:
    """Selecting marks the rows and does nothing else until finalize is set."""
    stage = at_selection().edit(selection=choose(20, finalize=False))
    assert states(stage)[20] == "Selected"
    assert stage.status.kept == "1/10"
    assert condition_of(stage.plan, Condition.SELECTION_VALID).status == "True"
    assert created(stage.plan) == []


def test_failed_run_is_not_finalized_and_says_so() -> None:
    """Finalizing a failed run does nothing, and SelectionValid tells what to do instead."""
    job = a_job("teapot-train-1", Role.TRAIN, an_ended_pod(code=14, report=a_train_report()), failed=True)
    stage = at_running().with_job(job).edit(selection=choose(20))
    valid = condition_of(stage.plan, Condition.SELECTION_VALID)
    assert valid.status == "False"
    assert "retry" in valid.message
    assert "startFrom" in valid.message
    assert created(stage.plan) == []


@pytest.mark.parametrize("unknown", [0, 15, 110])
def test_unknown_name_publishes_and_deletes_nothing(unknown: int) -> None:
    """One name that is not there, or is step 0, makes the whole selection ineffective, and is named."""
    stage = at_selection().edit(selection=choose(20, unknown))
    valid = condition_of(stage.plan, Condition.SELECTION_VALID)
    assert (valid.status, valid.reason) == ("False", Reason.UNKNOWN_CHECKPOINT)
    assert f"step-{unknown:06d}" in valid.message
    later_stage = stage.then(seconds=100_000)
    assert created(stage.plan) == created(later_stage.plan) == []
    assert stage.status.collection is None


def test_empty_selection_is_refused_with_the_way_out() -> None:
    """Keeping none is said with deletionPolicy, not with an empty list."""
    stage = at_selection().edit(selection=SelectionSpec(checkpoints=[], finalize=True))
    valid = condition_of(stage.plan, Condition.SELECTION_VALID)
    assert (valid.status, valid.reason) == ("False", Reason.EMPTY_SELECTION)
    assert "deletionPolicy: Delete" in valid.message
    assert created(stage.then(seconds=100_000).plan) == []


def test_copied_finalize_does_not_fire() -> None:
    """Finalize that stood in the manifest from the first look deletes nothing nobody has seen."""
    spec = a_spec(selection={"checkpoints": ["step-000020"], "finalize": True})
    stage = at_selection(spec)
    valid = condition_of(stage.plan, Condition.SELECTION_VALID)
    assert (valid.status, valid.reason) == ("False", Reason.FINALIZE_AT_CREATION)
    assert created(stage.then(seconds=100_000).plan) == []


def test_copied_finalize_fires_once_it_is_set_again() -> None:
    """Taking finalize back and setting it again is a wish of this object's own."""
    spec = a_spec(selection={"checkpoints": ["step-000020"], "finalize": True})
    unset = at_selection(spec).edit(selection=choose(20, finalize=False))
    stage = unset.edit(selection=choose(20))
    assert publish_input(created(stage.plan)[0]).selection[0].step == 20


def test_early_selection_waits_for_completion() -> None:
    """Finalize during training publishes nothing before training is complete."""
    early = at_running().edit(selection=choose(20))
    assert created(early.plan) == []
    assert early.status.collection is None


def test_publish_names_the_selection_with_digests() -> None:
    """The publish Job gets exactly the selected steps, each with the digest on record."""
    (child,) = created(at_publishing().plan)
    assert [(row.step, row.sha256) for row in publish_input(child).selection] == [
        (20, f"{20:016x}"),
        (50, f"{50:016x}"),
    ]
    assert child.job["metadata"]["name"].startswith("teapot-publish-")


def test_publish_token_is_mounted_for_invokeai() -> None:
    """The bearer token for an InvokeAI server comes by its own key, into the publish pod alone."""
    publish = {"invokeAI": {"url": "http://invoke:9090", "credentialsSecretRef": {"name": "invoke"}}}
    (child,) = created(at_publishing(a_spec(publish=publish)).plan)
    pod = child.job["spec"]["template"]["spec"]
    token = next(volume for volume in pod["volumes"] if volume["name"] == "token")
    assert [item["key"] for item in token["secret"]["items"]] == [KEY_INVOKEAI_TOKEN]
    assert TOKEN_DIR in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


def test_published_models_are_listed() -> None:
    """Each published model is told with its key, digest and the name that tools know it by."""
    models = at_grace().status.models or []
    assert [model.checkpoint for model in models] == ["step-000020", "step-000050"]
    assert models[0].key == f"team/models/tkxw-teapot/{models[0].key.split('/')[3]}/{models[0].name}.safetensors"
    assert states(at_grace())[20] == "Published"


def test_models_are_listed_once_without_their_keys() -> None:
    """A status that grew too large loses the keys of models; publishing more does not merge the rest into one."""
    stage = at_grace()
    bare = [model.model_copy(update={"key": ""}) for model in stage.status.models or []]
    stage = replace(stage, plan=replace(stage.plan, status=stage.status.model_copy(update={"models": bare})))
    more = stage.edit(selection=choose(20, 50, 60))
    pod = an_ended_pod(report=a_publish_report(20, 50, 60))
    done = more.with_job(job_of(created(more.plan)[0], pod, complete=True))
    assert [model.checkpoint for model in done.status.models or []] == ["step-000020", "step-000050", "step-000060"]


def test_digest_that_differs_stops_everything() -> None:
    """A published file with another digest than the recorded one is a failure, and nothing is deleted."""
    stage = at_publishing()
    report = a_publish_report(20, 50)
    assert report.publish is not None
    wrong = [row.model_copy(update={"sha256": "f" * 64}) for row in report.publish.models]
    report = report.model_copy(update={"publish": report.publish.model_copy(update={"models": wrong})})
    job = job_of(created(stage.plan)[0], an_ended_pod(report=report), complete=True)
    stalled = stage.with_job(job)
    assert condition_of(stalled.plan, Condition.STALLED).reason == Reason.PUBLISH_FAILED
    assert stalled.status.models is None


def test_unpublished_step_stops_everything() -> None:
    """A publish Job that says nothing of a selected step has not published it."""
    stage = at_publishing()
    job = job_of(created(stage.plan)[0], an_ended_pod(report=a_publish_report(20)), complete=True)
    stalled = stage.with_job(job)
    assert condition_of(stalled.plan, Condition.STALLED).reason == Reason.PUBLISH_FAILED
    assert "step-000050" in condition_of(stalled.plan, Condition.STALLED).message


def test_done_publish_is_no_failure_before_its_job_closes() -> None:
    """Between a pod's last words and its Job's closing nothing is called failed."""
    stage = at_publishing()
    done = an_ended_pod(report=a_publish_report(20, 50))
    stage = stage.with_job(job_of(created(stage.plan)[0], done))
    assert "failed" not in condition_of(stage.plan, Condition.READY).message
    assert condition_of(stage.plan, Condition.STALLED).status == "False"


def test_failed_publish_stalls_and_keeps_complete() -> None:
    """A publication that fails is Stalled with its words; the training stays complete."""
    stage = at_publishing()
    stalled = stage.with_job(failed(created(stage.plan)[0]))
    assert condition_of(stalled.plan, Condition.STALLED).reason == Reason.PUBLISH_FAILED
    assert condition_of(stalled.plan, Condition.STALLED).message == "it broke"
    assert condition_of(stalled.plan, Condition.COMPLETE).status == "True"
    assert condition_of(stalled.plan, Condition.FAILED).status == "False"
    assert stalled.plan.look_again_seconds == pytest.approx(30)


def test_failed_publish_is_tried_again_under_a_new_name() -> None:
    """After its pause a publication is tried again; the try has its own name and stays Stalled until it succeeds."""
    stage = at_publishing()
    first = created(stage.plan)[0]
    again = stage.with_job(failed(first)).then(seconds=31)
    (second,) = created(again.plan)
    assert second.job["metadata"]["name"] != first.job["metadata"]["name"]
    assert publish_input(second) == publish_input(first)
    running = again.with_job(job_of(second, a_pod()))
    assert condition_of(running.plan, Condition.STALLED).message == "it broke"
    done = running.with_job(job_of(second, an_ended_pod(report=a_publish_report(20, 50)), complete=True))
    assert condition_of(done.plan, Condition.STALLED).status == "False"
    assert done.status.failures is None


def test_pauses_grow_to_an_hour() -> None:
    """Each failure doubles the pause, up to an hour."""
    assert [pause_after(count) for count in (1, 2, 3, 8, 1000)] == [30, 60, 120, 3600, 3600]


def test_retry_annotation_skips_the_pause() -> None:
    """The user need not wait for the next try."""
    stage = at_publishing()
    stalled = stage.with_job(failed(created(stage.plan)[0]))
    meta = replace(stalled.view.meta, annotations={ANNOTATION_RETRY_REQUESTED_AT: "now"})
    retried = stalled.then(meta=meta)
    assert len(created(retried.plan)) == 1
    assert retried.plan.write_status_first


def test_pod_that_does_not_start_is_a_failed_try() -> None:
    """A publish pod that cannot start is ended at the start deadline and tried again."""
    stage = at_publishing(a_spec(pod={"startDeadlineSeconds": 60}))
    pod = a_pod(phase="Pending", scheduled_at=NOW, started_at=None, waiting_reason="ErrImagePull")
    stuck = stage.with_job(job_of(created(stage.plan)[0], pod), seconds=61)
    assert condition_of(stuck.plan, Condition.STALLED).reason == Reason.PUBLISH_FAILED
    assert len(stuck.plan.actions) == 1


def test_grace_runs_from_the_first_sight_of_a_selection() -> None:
    """The deletion is announced with its time, count and size when a selection is first seen."""
    clock = at_publishing().status.collection
    assert clock is not None
    assert clock.not_before == "2026-11-23T12:10:00Z"
    assert (clock.checkpoints, clock.bytes) == (8, 8000)
    assert clock.started_at is None


def test_nothing_is_deleted_within_the_grace_time() -> None:
    """Published, but the grace time is not over: no collect Job, and a look when it is."""
    stage = at_grace()
    assert state_of(stage) == "Collecting"
    assert created(stage.plan) == []
    assert stage.plan.look_again_seconds == pytest.approx(590)
    assert created(stage.then(seconds=589).plan) == []


def test_changed_selection_starts_the_clock_again() -> None:
    """A selection that changes within the grace time gets the whole of it once more."""
    stage = at_grace().edit(selection=choose(20, 30), seconds=500)
    clock = stage.status.collection
    assert clock is not None
    assert clock.not_before == "2026-11-23T12:18:30Z"


def test_changed_grace_starts_the_clock_again() -> None:
    """Another grace time holds from the moment it is seen."""
    stage = at_grace().edit(retention=RetentionSpec(grace_seconds=0), seconds=5)
    assert stage.status.collection is not None
    assert stage.status.collection.started_at is not None


def test_taking_finalize_back_stops_the_clock() -> None:
    """Within the grace time the user can still change his mind altogether."""
    stage = at_grace().edit(selection=choose(20, 50, finalize=False))
    assert stage.status.collection is None
    assert state_of(stage) == "AwaitingSelection"
    assert created(stage.then(seconds=100_000).plan) == []


def test_nothing_is_deleted_before_publication() -> None:
    """However long the grace time has been over, an unpublished selection keeps everything."""
    roles = [child.job["metadata"]["labels"][LABEL_ROLE] for child in created(at_publishing().then(seconds=9999).plan)]
    assert roles == ["publish"]


def test_nothing_is_deleted_beside_a_training_pod() -> None:
    """A pod that still writes, of a run that was adopted meanwhile, is waited for."""
    ending = a_pod("left", deleted_at=later(600))
    stage = at_grace().then(seconds=600, orphans=(ending,))
    assert created(stage.plan) == []
    assert len(created(stage.then(orphans=()).plan)) == 1


def test_deletion_is_on_record_before_its_job() -> None:
    """StartedAt and the rows that go are written before the collect Job is created."""
    stage = at_collecting()
    assert stage.plan.write_status_first
    assert stage.status.collection is not None
    assert stage.status.collection.started_at == "2026-11-23T12:10:10Z"
    assert [step for step, state in states(stage).items() if state == "Deleting"] == [10, 30, 40, 60, 70, 80, 90, 100]


def test_collect_deletes_exactly_the_rest() -> None:
    """What is deleted and what must be there first are listed in full, and no step is in both."""
    document = collect_input(created(at_collecting().plan)[0])
    assert [row.step for row in document.kept] == [20, 50]
    assert [row.step for row in document.deleted] == [10, 30, 40, 60, 70, 80, 90, 100]
    assert document.whole_run is False


def test_collect_list_is_fixed_across_restarts() -> None:
    """An operator that died after writing startedAt creates the very same Job."""
    stage = at_collecting()
    again = stage.then(seconds=30)
    assert created(again.plan) == created(stage.plan)
    assert again.status == stage.status


def test_name_selected_after_all_is_spared() -> None:
    """Were the frozen selection ever changed, a name selected after all is not in the next list."""
    stage = at_collecting().edit(selection=choose(20, 50, 30))
    assert 30 not in [row.step for row in collect_input(created(stage.plan)[0]).deleted]


def test_previously_published_model_is_kept() -> None:
    """A checkpoint that was published and then deselected is not deleted: published models are for ever."""
    stage = at_grace().edit(selection=choose(50)).then(seconds=700)
    document = collect_input(created(stage.plan)[0])
    assert [row.step for row in document.kept] == [20, 50]
    assert 20 not in [row.step for row in document.deleted]


def test_collection_finalizes() -> None:
    """When the rest is gone the run is Finalized, with what was freed and kept."""
    stage = at_collecting()
    report = a_collect_report(10, 30, 40, 60, 70, 80, 90, 100)
    done = stage.with_job(job_of(created(stage.plan)[0], an_ended_pod(report=report), complete=True))
    assert state_of(done) == "Finalized"
    assert condition_of(done.plan, Condition.FINALIZED).status == "True"
    assert (done.status.reclaimed_bytes, done.status.kept) == (8000, "2/10")
    assert set(states(done).values()) == {"Published", "Deleted"}
    assert [type(action) for action in done.plan.actions] == [EmitEvent]
    again = done.then(jobs=(), seconds=100_000)
    assert again.plan.actions == ()
    assert again.status == done.status


def test_failed_collect_stalls_and_is_tried_again() -> None:
    """A deletion that fails is Stalled, and tried again with the same list."""
    stage = at_collecting()
    child = created(stage.plan)[0]
    stalled = stage.with_job(failed(child, seconds=620))
    assert condition_of(stalled.plan, Condition.STALLED).reason == Reason.COLLECT_FAILED
    (again,) = created(stalled.then(seconds=60).plan)
    assert collect_input(again) == collect_input(child)


def test_keeping_all_still_ends_in_finalized() -> None:
    """With everything selected the collect Job has nothing to delete, and writes the tombstone."""
    steps = tuple(range(10, 101, 10))
    stage = at_selection().edit(selection=choose(*steps))
    job = job_of(created(stage.plan)[0], an_ended_pod(report=a_publish_report(*steps)), complete=True)
    collecting = stage.with_job(job, seconds=601)
    assert collect_input(created(collecting.plan)[0]).deleted == []


@pytest.mark.parametrize(("installed", "status"), [(True, "True"), (False, "False"), (None, "False")])
def test_installing_never_blocks(installed: bool | None, status: str) -> None:
    """Whether the models are in InvokeAI is a condition of its own, with what was told; deletion goes on."""
    publish = PublishSpec.model_validate({"invokeAI": {"url": "http://invoke:9090"}})
    stage = at_selection().edit(publish=publish).edit(selection=choose(20))
    report = a_publish_report(20)
    assert report.publish is not None
    told = report.publish.model_copy(update={"installed": installed})
    report = report.model_copy(update={"publish": told, "message": "what became of each"})
    job = job_of(created(stage.plan)[0], an_ended_pod(report=report), complete=True)
    done = stage.with_job(job, seconds=601)
    found = condition_of(done.plan, Condition.INSTALLED)
    assert (found.status, found.message) == (status, "what became of each")
    assert len(created(done.plan)) == 1
