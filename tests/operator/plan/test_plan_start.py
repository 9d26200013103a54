"""Before training: what is waited for, what is refused, what preflight finds; no GPU is asked for till then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier_contract.dataset import FindingStatus
from atelier_contract.exit_codes import ExitCode
from atelier_contract.identity import digest_spec, identify_run
from atelier_contract.reasons import TRAINING_JOB_CONDITIONS, Condition, Reason
from atelier_contract.roles import Role
from atelier_contract.template import TrainingTemplateSpec
from atelier_operator.model import DeleteJob, SetFinalizer
from operator_builders import (
    IMAGE,
    REVISION,
    a_condition,
    a_dataset,
    a_job,
    a_meta,
    a_pending_pod,
    a_report,
    a_row,
    a_spec,
    a_surroundings,
    a_view,
    an_ended_pod,
    condition_of,
    created,
    created_names,
    later,
)
from plan_stages import Stage, after_preflight, at_preflight, at_training, look_at

CLAIM = {"persistentVolumeClaim": {"claimName": "other"}}


def state_of(stage: Stage) -> str:
    """The state word that the plan writes."""
    return condition_of(stage.plan, Condition.READY).reason


def test_all_conditions_are_there_at_once() -> None:
    """The first look writes every condition, so that `kubectl wait` never waits for a missing one."""
    stage = look_at(a_view(dataset=None))
    assert [c.type for c in stage.status.conditions] == [kind.value for kind in TRAINING_JOB_CONDITIONS]
    assert {c.observed_generation for c in stage.status.conditions} == {1}


def test_missing_dataset_is_waited_for() -> None:
    """A dataset that is not there is no mistake: it may come with the same apply."""
    stage = look_at(a_view(dataset=None))
    assert state_of(stage) == "WaitingForDataset"
    assert condition_of(stage.plan, Condition.STALLED).status == "False"
    assert condition_of(stage.plan, Condition.RECONCILING).status == "True"
    assert stage.plan.actions == ()


def test_dataset_that_is_not_ready_is_waited_for() -> None:
    """The dataset's own sentence is shown, and nothing is started."""
    stage = look_at(a_view(dataset=a_dataset(ready=False)))
    assert "12 usable pictures" in condition_of(stage.plan, Condition.DATASET_READY).message
    assert stage.plan.actions == ()


def test_dataset_without_captions_names_file_and_fix() -> None:
    """A dataset that does not serve this type keeps the GPU free and says which file needs what."""
    finding = FindingStatus(
        reason="CaptionMissing", severity="Warning", count=3, example="b.png", fix="add b.txt beside it"
    )
    stage = look_at(a_view(dataset=a_dataset(usable_for=["Embedding"], captioned=9, findings=[finding])))
    ready = condition_of(stage.plan, Condition.DATASET_READY)
    assert (ready.status, ready.reason) == ("False", Reason.DATASET_UNUSABLE)
    assert "b.png" in ready.message
    assert "add b.txt beside it" in ready.message
    assert stage.plan.actions == ()


def test_dataset_in_another_store_is_not_used() -> None:
    """A dataset and the jobs that use it must name the same storage."""
    dataset = a_dataset(spec={"source": {"upload": {}}, "storage": CLAIM})
    stage = look_at(a_view(dataset=dataset))
    assert condition_of(stage.plan, Condition.DATASET_READY).reason == Reason.DATASET_UNUSABLE
    assert stage.plan.actions == ()


def test_missing_template_is_waited_for() -> None:
    """A template that is not there yet is waited for, by name."""
    stage = look_at(a_view(a_spec(templateRef={"name": "object"})))
    assert state_of(stage) == "WaitingForDataset"
    assert "TrainingTemplate object" in condition_of(stage.plan, Condition.READY).message
    assert stage.plan.actions == ()


def test_template_without_a_recipe_is_waited_for() -> None:
    """A template that says nothing of this architecture and type does not start a run with other settings."""
    recipe = {"architecture": "Flux1", "type": "ConceptModel"}
    template = TrainingTemplateSpec.model_validate({"description": "", "recipes": [recipe]})
    stage = look_at(a_view(a_spec(templateRef={"name": "object"}), template=template))
    assert "no recipe" in condition_of(stage.plan, Condition.READY).message
    assert stage.plan.actions == ()


def test_start_pins_the_run() -> None:
    """Revision, image, settings and identity are on record from the first child on."""
    stage = at_preflight()
    digest = digest_spec(a_spec())
    assert stage.status.spec_digest == digest
    assert (stage.status.dataset_revision, stage.status.trainer_image) == (REVISION, IMAGE)
    assert stage.status.run_identity == identify_run(digest, REVISION, IMAGE)
    assert stage.status.resolved


def test_pinned_run_ignores_a_changed_dataset() -> None:
    """DatasetReady latches at the start: a later revision, or an unready dataset, does not stop a run."""
    stage = after_preflight(at_preflight()).then(dataset=a_dataset(ready=False, revision="e" * 64))
    assert condition_of(stage.plan, Condition.DATASET_READY).status == "True"
    assert stage.status.dataset_revision == REVISION


def test_pinned_run_keeps_its_image() -> None:
    """After an upgrade of the operator a run goes on with the image it began with."""
    stage = after_preflight(at_preflight().then(surroundings=a_surroundings(trainer_image="new:2")))
    (container,) = created(stage.plan)[0].job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE


def test_no_gpu_before_preflight() -> None:
    """The first child is the preflight Job, alone."""
    assert created_names(at_preflight().plan) == ["teapot-preflight-1"]


def test_preflight_is_asked_for_once() -> None:
    """While the Job is there, nothing is created again, and nothing is written again."""
    stage = at_preflight()
    waiting = stage.with_job(a_job("teapot-preflight-1", Role.PREFLIGHT))
    assert created(waiting.plan) == []
    assert waiting.status == stage.status


def test_vanished_preflight_is_asked_for_again() -> None:
    """An operator that died between creating and writing, or a Job that is gone, leads to the same Job again."""
    assert created_names(at_preflight().then().plan) == ["teapot-preflight-1"]


def test_preflight_leads_to_training() -> None:
    """With nothing missing the training Job of the same round is asked for."""
    stage = at_training()
    assert created_names(stage.plan) == ["teapot-train-1"]
    assert state_of(stage) == "Scheduling"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ExitCode.INVALID_INPUT, Reason.STORAGE_NOT_CONFIGURED),
        (ExitCode.BASE_MODEL_UNUSABLE, Reason.BASE_MODEL_UNUSABLE),
        (ExitCode.DATASET_UNUSABLE, Reason.DATASET_CHANGED),
    ],
)
def test_preflight_failure_ends_the_run_in_words(code: ExitCode, reason: Reason) -> None:
    """What preflight says becomes the condition's message; no pod asks for a GPU."""
    words = a_report(Role.PREFLIGHT, reason, message="the Secret atelier-storage has no key bucket: add it")
    pod = an_ended_pod(code=code, report=words)
    stage = at_preflight().with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, pod, failed=True))
    for kind in (Condition.FAILED, Condition.STALLED):
        found = condition_of(stage.plan, kind)
        assert (found.status, found.reason) == ("True", reason)
    assert "add it" in condition_of(stage.plan, Condition.READY).message
    assert created(stage.plan) == []
    assert created(stage.then().plan) == []


def test_preflight_words_show_while_it_is_retried() -> None:
    """A store that does not answer is named in the condition before the last try has failed."""
    words = a_report(Role.PREFLIGHT, Reason.STORAGE_UNAVAILABLE, message="s3.example does not answer")
    pod = an_ended_pod(code=20, report=words)
    stage = at_preflight().with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, pod))
    assert condition_of(stage.plan, Condition.READY).message == "s3.example does not answer"
    assert state_of(stage) == "Preflight"


def test_image_that_cannot_be_pulled_ends_at_the_start_deadline() -> None:
    """A preflight pod that has a node and does not start fails the run, and its Job is deleted."""
    spec = a_spec(pod={"startDeadlineSeconds": 60})
    pod = a_pending_pod(scheduled_at=later(0), waiting_reason="ErrImagePull", node="n", waiting_message="no such image")
    job = a_job("teapot-preflight-1", Role.PREFLIGHT, pod)
    early = at_preflight(spec).with_job(job, seconds=59)
    assert condition_of(early.plan, Condition.FAILED).status == "False"
    assert early.plan.look_again_seconds == pytest.approx(1)
    late = early.then(seconds=2)
    assert condition_of(late.plan, Condition.FAILED).reason == Reason.START_DEADLINE_EXCEEDED
    assert "ErrImagePull no such image" in condition_of(late.plan, Condition.FAILED).message
    assert DeleteJob(job.name, job.uid) in late.plan.actions


def test_waiting_for_a_node_is_not_a_failed_start() -> None:
    """A pod without a node holds no GPU: it may wait for ever, and the scheduler's changing words are not repeated."""
    pod = a_pending_pod(waiting_message="0/5 nodes are available")
    stage = at_preflight().with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, pod), seconds=100_000)
    assert state_of(stage) == "Preflight"
    assert "0/5" not in condition_of(stage.plan, Condition.READY).message


def test_held_preflight_is_queued() -> None:
    """Where the queue holds every Job of a namespace, a held preflight is Queued, and nothing is done about it."""
    stage = at_preflight().with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, suspended=True))
    assert state_of(stage) == "Queued"
    assert stage.plan.actions == ()


def test_lost_last_words_ask_another_preflight() -> None:
    """A preflight that succeeded while nobody listened is asked again under the next number."""
    stage = at_preflight().with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, complete=True))
    assert created_names(stage.plan) == ["teapot-preflight-2"]


def test_finished_run_is_adopted_without_training() -> None:
    """A run that the store holds finished is complete at once, with its checkpoints and its identity."""
    rows = [a_row(10), a_row(20)]
    stage = after_preflight(at_preflight(), complete=True, run_identity="a" * 64, rows=rows)
    assert created(stage.plan) == []
    assert condition_of(stage.plan, Condition.COMPLETE).reason == Reason.ADOPTED
    assert stage.status.run_identity == "a" * 64
    assert [row.name for row in stage.status.checkpoints or []] == ["step-000010", "step-000020"]
    assert state_of(stage) == "AwaitingSelection"


def test_finalized_run_is_adopted_as_finalized() -> None:
    """A re-created object of a finalized run is Finalized, its models listed, whatever its manifest selects."""
    spec = a_spec(selection={"checkpoints": ["step-000010"], "finalize": True})
    published = [(10, 900, "f" * 16)]
    stage = after_preflight(at_preflight(spec), complete=True, finalized=True, published=published, rows=[a_row(10)])
    assert state_of(stage) == "Finalized"
    assert [model.checkpoint for model in stage.status.models or []] == ["step-000010"]
    assert created(stage.plan) == created(stage.then().plan) == []


def test_interrupted_run_is_gone_on_with() -> None:
    """An earlier object's unfinished run is trained on under its own identity."""
    stage = after_preflight(at_preflight(), run_identity="b" * 64, rows=[a_row(10)])
    assert stage.status.run_identity == "b" * 64
    assert created_names(stage.plan) == ["teapot-train-1"]


def test_stop_before_training_completes_without_a_gpu() -> None:
    """A run stopped before its first step is complete, and no GPU was asked for."""
    waiting = look_at(a_view(a_spec(stop=True), dataset=None))
    checked = after_preflight(at_preflight().edit(stop=True))
    for stage in (waiting, checked):
        assert condition_of(stage.plan, Condition.COMPLETE).reason == Reason.STOPPED_EARLY
        assert created(stage.plan) == []


def test_stopped_run_of_an_earlier_object_is_adopted() -> None:
    """An object created again with `stop` in its manifest looks into the store before it says that it is over."""
    stage = at_preflight(a_spec(stop=True))
    assert created_names(stage.plan) == ["teapot-preflight-1"]
    assert condition_of(stage.plan, Condition.COMPLETE).status == "False"
    adopted = after_preflight(stage, complete=True, stopped_early=True, rows=[a_row(10)])
    assert condition_of(adopted.plan, Condition.COMPLETE).reason == Reason.STOPPED_EARLY
    assert [row.step for row in adopted.status.checkpoints or []] == [10]


def test_stopped_run_waits_for_a_dataset_under_inspection() -> None:
    """While the dataset is inspected, it cannot be told yet whether a run is in the store: nothing is claimed."""
    stage = at_preflight(a_spec(stop=True), dataset=a_dataset(ready=False))
    assert condition_of(stage.plan, Condition.COMPLETE).status == "False"


def test_stop_does_not_wait_for_a_dataset_that_the_user_must_mend() -> None:
    """A run that waits for a dataset nobody mends can still be stopped."""
    unusable = [a_condition(Condition.READY, "False"), a_condition(Condition.STALLED)]
    stage = at_preflight(a_spec(stop=True), dataset=a_dataset(conditions=unusable))
    assert condition_of(stage.plan, Condition.COMPLETE).reason == Reason.STOPPED_EARLY


def test_suspended_from_the_start_creates_nothing() -> None:
    """A run that is created suspended waits for the user."""
    stage = at_preflight(a_spec(suspend=True))
    assert state_of(stage) == "Suspended"
    assert condition_of(stage.plan, Condition.SUSPENDED).status == "True"
    assert stage.plan.actions == ()


def test_what_this_release_cannot_train_is_invalid() -> None:
    """What the schema allows and this release cannot do is refused without any pod, and Stalled."""
    stage = look_at(a_view(a_spec(pod={"nodes": 2}), meta=a_meta(name="teapot.v2")))
    assert state_of(stage) == "Invalid"
    assert condition_of(stage.plan, Condition.STALLED).status == "True"
    assert stage.plan.actions == ()


def test_unreadable_spec_is_invalid() -> None:
    """A spec that this release cannot read is Invalid, with what is wrong, and touches nothing."""
    stage = look_at(replace(a_view(), spec=None, problem="spec.steps: must be positive"))
    assert condition_of(stage.plan, Condition.READY).message == "spec.steps: must be positive"
    assert condition_of(stage.plan, Condition.STALLED).status == "True"
    assert stage.plan.actions == ()


def test_foreign_job_of_the_name_stalls() -> None:
    """A Job of another owner under our name is never touched: the user must say whose it is."""
    taken = a_job("teapot-preflight-1", Role.PREFLIGHT, owner_uid="someone")
    stage = look_at(a_view(jobs=(taken,)))
    assert condition_of(stage.plan, Condition.STALLED).reason == Reason.NAME_TAKEN
    assert stage.plan.actions == ()


def test_namesake_that_is_going_is_waited_for() -> None:
    """The Job of an earlier object of this name is waited for while it is being deleted."""
    taken = a_job("teapot-preflight-1", Role.PREFLIGHT, owner_uid="earlier", deleted_at=later(0))
    stage = look_at(a_view(jobs=(taken,)))
    assert condition_of(stage.plan, Condition.STALLED).status == "False"
    assert stage.plan.actions == ()
    assert stage.plan.look_again_seconds is not None


def test_refused_child_stalls_and_is_asked_for_again() -> None:
    """What the API server says is shown, and the child is asked for again after a pause."""
    stage = at_preflight(refused="exceeded quota: gpus")
    stalled = condition_of(stage.plan, Condition.STALLED)
    assert stalled.reason == Reason.CREATE_REFUSED
    assert "exceeded quota: gpus" in stalled.message
    assert created_names(stage.plan) == ["teapot-preflight-1"]
    assert stage.plan.look_again_seconds == pytest.approx(60)


def test_finalizer_comes_before_the_first_child() -> None:
    """With deletionPolicy Delete no data is ever made while the object could vanish without it."""
    stage = at_preflight(a_spec(deletionPolicy="Delete"))
    assert stage.plan.actions[0] == SetFinalizer(present=True)
    assert len(created(stage.plan)) == 1


def test_burst_costs_two_status_writes() -> None:
    """With no node free a new job costs two creations and at most two status writes, however often it is looked at."""
    stages = [at_preflight()]
    stages.append(stages[-1].with_job(a_job("teapot-preflight-1", Role.PREFLIGHT)))
    pod = a_pending_pod()
    for count in range(5):
        waiting = replace(pod, waiting_message=f"0/{count} nodes are available")
        stages.append(stages[-1].with_job(a_job("teapot-preflight-1", Role.PREFLIGHT, waiting), seconds=20))
    writes = sum(stage.status != stage.view.status for stage in stages)
    assert writes <= 2
    assert sum(len(created(stage.plan)) for stage in stages) == 1
