"""While training: the state word, the ways a run ends, pause and resume, lost nodes, stop and retry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import ControlFile
from atelier_contract.progress import Phase
from atelier_contract.reasons import Condition, Reason
from atelier_contract.roles import Role
from atelier_operator.model import DeleteJob, EmitEvent, ObservedPod, ObservedProgress, WriteControl
from operator_builders import (
    NOW,
    a_job,
    a_pending_pod,
    a_pod,
    a_report,
    a_spec,
    a_train_report,
    an_answer,
    an_ended_pod,
    condition_of,
    created,
    created_names,
    later,
)
from plan_stages import Stage, after_preflight, at_preflight, at_running, at_selection, at_training

TRAIN = "teapot-train-1"


def state_of(stage: Stage) -> str:
    """The state word that the plan writes."""
    return condition_of(stage.plan, Condition.READY).reason


def answered(stage: Stage, phase: Phase, step: int = 20) -> ObservedProgress:
    """The running pod's answer."""
    return ObservedProgress("pod-uid", NOW, an_answer("pod-uid", stage.status.run_identity or "", step, phase=phase))


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (None, "Scheduling"),
        (a_pending_pod(), "Scheduling"),
        (a_pending_pod(scheduled_at=NOW, node="n", waiting_reason="ContainerCreating"), "Starting"),
        (a_pod(), "Preparing"),
        (an_ended_pod(code=30), "Restarting"),
        (an_ended_pod(code=0), "Training"),
        (a_pod(deleted_at=later(100)), "Restarting"),
    ],
)
def test_state_follows_the_pod(pod: ObservedPod | None, state: str) -> None:
    """The state word says where between a Job and a training process the run is."""
    job = a_job(TRAIN, Role.TRAIN, *([pod] if pod else []))
    assert state_of(at_training().with_job(job)) == state


@pytest.mark.parametrize(
    ("phase", "state"), [("Fetching", "Preparing"), ("Caching", "Preparing"), ("Training", "Training")]
)
def test_state_follows_the_phase(phase: Phase, state: str) -> None:
    """A running pod prepares until it says that it trains."""
    stage = at_running()
    assert state_of(stage.then(progress=answered(stage, phase))) == state


def test_new_pod_is_not_training_by_an_old_answer() -> None:
    """After a restart the run prepares again, whatever the last attempt had said."""
    stage = at_running()
    trained = stage.then(progress=answered(stage, "Training"))
    gone = an_ended_pod(code=30)
    again = a_pod("second", created_at=later(1))
    assert state_of(trained.with_job(a_job(TRAIN, Role.TRAIN, gone, again), progress=None)) == "Preparing"


def test_held_job_is_queued() -> None:
    """A Job that a queue has not admitted is Queued: its suspend is the queue's, and it is not Suspended."""
    stage = at_training(a_spec(queueName="team-a"))
    held = stage.with_job(a_job(TRAIN, Role.TRAIN, suspended=True))
    assert state_of(stage) == state_of(held) == "Queued"
    assert condition_of(held.plan, Condition.SUSPENDED).status == "False"
    assert held.plan.actions == ()


def test_running_pod_is_asked_every_few_seconds() -> None:
    """The plan names the pod to ask and looks again soon."""
    stage = at_running()
    assert stage.plan.ask_pod is not None
    assert stage.plan.look_again_seconds == pytest.approx(5)


def test_completion_fills_status() -> None:
    """A Job that ended well completes the run, with its checkpoints, and the user is asked to select."""
    stage = at_selection()
    assert condition_of(stage.plan, Condition.COMPLETE).reason == Reason.TRAINING_COMPLETE
    assert condition_of(stage.plan, Condition.FINISHED).status == "True"
    assert condition_of(stage.plan, Condition.READY).status == "True"
    assert state_of(stage) == "AwaitingSelection"
    assert len(stage.status.checkpoints or []) == 10
    assert stage.status.completion_time is not None
    assert [action for action in stage.plan.actions if isinstance(action, EmitEvent)]


def test_completion_says_what_speaks_against_the_result() -> None:
    """What the trainer's last words say of the checkpoints stays with the completed run, where the user chooses."""
    report = a_train_report().model_copy(update={"message": "the held-out loss has risen for 3 checkpoints"})
    ended = an_ended_pod(report=report)
    stage = at_running().with_job(a_job("teapot-train-1", Role.TRAIN, ended, complete=True))
    message = condition_of(stage.plan, Condition.COMPLETE).message
    assert message == "trained to step 100; the held-out loss has risen for 3 checkpoints"


def test_completion_is_told_once() -> None:
    """The next look at a completed run does nothing and writes nothing."""
    stage = at_selection()
    again = stage.then(seconds=3600)
    assert again.plan.actions == ()
    assert again.status == stage.status


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ExitCode.DIVERGED, Reason.DIVERGED),
        (ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY),
        (ExitCode.STORAGE_UNAVAILABLE, Reason.STORAGE_UNAVAILABLE),
        (ExitCode.BUG, Reason.TRAINER_ERROR),
    ],
)
def test_failed_job_fails_the_run(code: ExitCode, reason: Reason) -> None:
    """The exit code says why, the last words say it in a sentence; Failed implies Finished and Stalled."""
    words = a_report(Role.TRAIN, reason, message="lower tuning.batchSize")
    job = a_job(TRAIN, Role.TRAIN, an_ended_pod(code=code, report=words), failed=True)
    stage = at_running().with_job(job)
    for kind in (Condition.FAILED, Condition.STALLED, Condition.FINISHED):
        found = condition_of(stage.plan, kind)
        assert (found.status, found.reason) == ("True", reason)
    assert "lower tuning.batchSize" in condition_of(stage.plan, Condition.READY).message
    assert stage.plan.write_status_first


def test_exit_code_speaks_where_words_are_missing() -> None:
    """A pod without a last word still gives its reason by its exit code."""
    job = a_job(TRAIN, Role.TRAIN, an_ended_pod(code=13), failed=True)
    assert condition_of(at_running().with_job(job).plan, Condition.FAILED).reason == Reason.OUT_OF_MEMORY


def test_failed_run_makes_no_more_pods() -> None:
    """A failed run waits for the user, however often it is looked at, also when its Jobs are gone."""
    job = a_job(TRAIN, Role.TRAIN, an_ended_pod(code=14), failed=True)
    stage = at_running().with_job(job).then(jobs=(), seconds=90_000)
    assert state_of(stage) == "Failed"
    assert stage.plan.actions == ()


def test_container_killed_for_memory_ends_the_run() -> None:
    """The failure policy cannot see OOMKilled, so the plan fails the run and deletes the Job that would retry."""
    killed = an_ended_pod(code=137, oom_killed=True)
    job = a_job(TRAIN, Role.TRAIN, killed, a_pod("second", created_at=later(1)))
    stage = at_running().with_job(job)
    assert condition_of(stage.plan, Condition.FAILED).reason == Reason.OUT_OF_HOST_MEMORY
    assert DeleteJob(job.name, job.uid) in stage.plan.actions
    assert stage.plan.write_status_first


def test_gpu_is_given_back_at_the_start_deadline() -> None:
    """A training pod that has a node and does not start frees it when the deadline is over."""
    pod = a_pending_pod(scheduled_at=NOW, node="n", waiting_reason="ImagePullBackOff")
    job = a_job(TRAIN, Role.TRAIN, pod)
    stage = at_training(a_spec(pod={"startDeadlineSeconds": 120})).with_job(job, seconds=121)
    assert condition_of(stage.plan, Condition.FAILED).reason == Reason.START_DEADLINE_EXCEEDED
    assert DeleteJob(job.name, job.uid) in stage.plan.actions


def test_deadline_counts_all_attempts() -> None:
    """DeadlineSeconds is about the whole run: what earlier attempts took is taken off."""
    first = an_ended_pod("first", code=30, started_at=later(-100), finished_at=later(-40))
    second = a_pod("second", created_at=later(-10), started_at=NOW)
    spec = a_spec(pod={"deadlineSeconds": 100})
    stage = at_training(spec).with_job(a_job(TRAIN, Role.TRAIN, first, second), seconds=39)
    assert condition_of(stage.plan, Condition.FAILED).status == "False"
    over = stage.then(seconds=2)
    assert condition_of(over.plan, Condition.FAILED).reason == Reason.DEADLINE_EXCEEDED


def test_deadline_counts_attempts_beyond_the_table() -> None:
    """The table keeps ten attempts, and the limit holds for all of them: the time of a dropped row is kept."""
    pods = [
        an_ended_pod(f"p{number:02}", code=30, created_at=later(number), started_at=NOW, finished_at=later(10))
        for number in range(12)
    ]
    stage = at_training(a_spec(pod={"deadlineSeconds": 120}))
    for seen in range(1, 13):
        stage = stage.with_job(a_job(TRAIN, Role.TRAIN, *pods[:seen]))
    assert len(stage.status.attempts or []) == 10
    assert condition_of(stage.plan, Condition.FAILED).reason == Reason.DEADLINE_EXCEEDED


def test_retry_without_time_left_is_answered() -> None:
    """A run over its deadline would exceed it again at once: it is told so, once, and no GPU is asked for."""
    spec = a_spec(pod={"deadlineSeconds": 100})
    over = at_training(spec).with_job(a_job(TRAIN, Role.TRAIN, a_pod(started_at=NOW)), seconds=101)
    asked = retry(over.then(jobs=()))
    assert created(asked.plan) == []
    assert condition_of(asked.plan, Condition.FAILED).reason == Reason.DEADLINE_EXCEEDED
    assert "startFrom" in condition_of(asked.plan, Condition.READY).message
    assert created(asked.then(seconds=60).plan) == []


def test_completed_job_without_words_is_read_from_the_store() -> None:
    """A run that ended while the operator was away is found by the next preflight, and no GPU is asked for."""
    job = a_job(TRAIN, Role.TRAIN, complete=True)
    stage = at_running().with_job(job)
    assert created_names(stage.plan) == ["teapot-preflight-2"]
    adopted = after_preflight(stage, complete=True)
    assert condition_of(adopted.plan, Condition.COMPLETE).status == "True"
    assert created(adopted.plan) == []


def test_vanished_job_is_gone_on_with_in_the_next_round() -> None:
    """A training Job that had a pod and is gone leads to the next round's preflight, not to a twin."""
    stage = at_running().then(jobs=())
    assert created_names(stage.plan) == ["teapot-preflight-2"]


def test_job_that_never_had_a_pod_is_asked_for_again() -> None:
    """An operator that died after asking, or looks with an old memory, asks for the very same Job."""
    assert created_names(at_training().then().plan) == [TRAIN]


def test_suspend_deletes_the_job() -> None:
    """Pausing deletes the training Job, says so, and records the attempt's end."""
    stage = at_running().edit(suspend=True)
    assert stage.plan.actions == (DeleteJob(TRAIN, f"{TRAIN}-uid"),)
    assert state_of(stage) == "Suspended"
    assert [row.reason for row in stage.status.attempts or []] == [Reason.SUSPENDED]


def test_suspended_run_stays_quiet() -> None:
    """A paused run creates nothing and writes nothing, also when its pod has gone."""
    stage = at_running().edit(suspend=True).then(jobs=(), orphans=())
    again = stage.then(seconds=3600)
    assert again.plan.actions == ()
    assert again.status == stage.status


def test_resume_takes_the_next_number() -> None:
    """Resuming makes a new preflight and a new training Job: the old name could be another input's."""
    paused = at_running().edit(suspend=True).then(jobs=())
    resumed = paused.edit(suspend=False)
    assert created_names(resumed.plan) == ["teapot-preflight-2"]
    assert created_names(after_preflight(resumed).plan) == ["teapot-train-2"]


def test_next_pod_waits_for_the_last() -> None:
    """While the paused pod still saves its state, no other training pod is asked for."""
    ending = a_pod(deleted_at=later(120))
    paused = at_running().edit(suspend=True).then(jobs=(), orphans=(ending,))
    ready = after_preflight(paused.edit(suspend=False))
    assert created(ready.plan) == []
    assert state_of(ready) == "Restarting"
    assert created_names(ready.then(orphans=()).plan) == ["teapot-train-2"]


def test_next_pod_waits_for_a_job_that_could_make_one() -> None:
    """An earlier Job that is still alive, though without a pod, keeps the next one back and is deleted."""
    paused = at_running().edit(suspend=True)
    left = a_job(TRAIN, Role.TRAIN)
    ready = after_preflight(paused.then(jobs=(left,)).edit(suspend=False))
    assert created(ready.plan) == []
    assert DeleteJob(left.name, left.uid) in ready.plan.actions


def test_completion_wins_over_suspend() -> None:
    """A run that completed before the pause reached it is complete."""
    done = a_job(TRAIN, Role.TRAIN, an_ended_pod(report=a_train_report()), complete=True)
    stage = at_running().then(jobs=(done,)).edit(suspend=True)
    assert condition_of(stage.plan, Condition.COMPLETE).status == "True"
    assert condition_of(stage.plan, Condition.SUSPENDED).status == "False"


def test_lost_node_is_left_behind() -> None:
    """A pod long Terminating on a node that is not ready is given up: its Job goes, the next round begins."""
    lost = a_pod(deleted_at=NOW, node_ready=False)
    job = a_job(TRAIN, Role.TRAIN, lost)
    early = at_running().with_job(job, seconds=59)
    assert early.plan.actions == ()
    late = early.then(seconds=2)
    assert DeleteJob(job.name, job.uid) in late.plan.actions
    assert created_names(late.plan) == ["teapot-preflight-2"]
    assert [row.reason for row in late.status.attempts or []] == [Reason.NODE_LOST]


def test_zombie_on_a_lost_node_is_not_waited_for() -> None:
    """A pod beyond reach writes under its own keys only: the next one may begin beside it."""
    lost = a_pod(deleted_at=NOW, node_ready=False)
    left = at_running().with_job(a_job(TRAIN, Role.TRAIN, lost), seconds=61)
    stage = after_preflight(left.then(jobs=(), orphans=(lost,)))
    assert created_names(stage.plan) == ["teapot-train-2"]


@pytest.mark.parametrize("node_ready", [True, None])
def test_slow_pod_on_a_living_node_is_waited_for(node_ready: bool | None) -> None:
    """A pod that takes long to end on a node that is ready, or not looked at, is no lost pod."""
    slow = a_pod(deleted_at=NOW, node_ready=node_ready)
    stage = at_running().with_job(a_job(TRAIN, Role.TRAIN, slow), seconds=600)
    assert stage.plan.actions == ()
    assert stage.plan.look_again_seconds is not None


def test_stop_is_asked_for_until_the_job_ends() -> None:
    """`stop` reaches a running pod through its control file: no look may lose it, also one of a known generation."""
    stage = at_running().edit(stop=True)
    asked = WriteControl(TRAIN, ControlFile(stop=True))
    assert asked in stage.plan.actions
    assert stage.then(seconds=60).plan.actions == (asked,)
    ended = a_job(TRAIN, Role.TRAIN, an_ended_pod(report=a_train_report()), complete=True)
    assert asked not in stage.with_job(ended).plan.actions


def test_stop_stands_in_a_new_jobs_control_file() -> None:
    """A Job made after the stop has it from the start."""
    paused = at_running().edit(suspend=True).then(jobs=()).edit(stop=True)
    stage = after_preflight(paused.edit(suspend=False), rows=[(10, 1, "a" * 16, None, 0)])
    (child,) = created(stage.plan)
    assert ControlFile.from_bytes(child.config_map["data"][names.CONTROL_FILE].encode()).stop is True


def test_stopped_run_completes_early() -> None:
    """A run that ended by `stop` is complete, and says that it was stopped."""
    report = a_train_report("pod-uid", 0, 10, 17, stopped_early=True)
    job = a_job(TRAIN, Role.TRAIN, an_ended_pod(report=report), complete=True)
    stage = at_running().with_job(job)
    assert condition_of(stage.plan, Condition.COMPLETE).reason == Reason.STOPPED_EARLY
    assert [row.step for row in stage.status.checkpoints or []] == [10, 17]


def retry(stage: Stage, value: str = "2026-11-23T13:00:00Z") -> Stage:
    """Annotate the object and look."""
    annotations = {names.ANNOTATION_RETRY_REQUESTED_AT: value}
    return stage.then(meta=replace(stage.view.meta, annotations=annotations))


def failed_stage() -> Stage:
    """A run that has diverged."""
    return at_running().with_job(a_job(TRAIN, Role.TRAIN, an_ended_pod(code=14), failed=True))


def test_retry_is_on_record_before_the_job() -> None:
    """Finished and Failed turn False, and the request is marked handled, in a write that precedes the next Job."""
    stage = retry(failed_stage())
    assert stage.plan.write_status_first
    assert condition_of(stage.plan, Condition.FAILED).status == "False"
    assert condition_of(stage.plan, Condition.FINISHED).status == "False"
    assert stage.status.last_handled_retry_at == "2026-11-23T13:00:00Z"
    assert stage.status.completion_time is None
    assert created_names(stage.plan) == ["teapot-preflight-2"]


def test_retry_is_taken_once() -> None:
    """The same annotation does not retry a second failure."""
    stage = retry(failed_stage())
    words = a_report(Role.PREFLIGHT, Reason.BASE_MODEL_UNUSABLE)
    again = stage.with_job(
        a_job("teapot-preflight-2", Role.PREFLIGHT, an_ended_pod(code=12, report=words), failed=True)
    )
    assert condition_of(again.plan, Condition.FAILED).status == "True"
    assert created(again.then(seconds=60).plan) == []


def test_copied_retry_annotation_does_nothing_later() -> None:
    """An annotation that came with creation is taken when there is nothing to retry, and never fires."""
    meta = replace(at_preflight().view.meta, annotations={names.ANNOTATION_RETRY_REQUESTED_AT: "copied"})
    stage = at_running(meta=meta)
    assert stage.status.last_handled_retry_at == "copied"
    failed = stage.with_job(a_job(TRAIN, Role.TRAIN, an_ended_pod(code=14), failed=True))
    assert created(failed.then().plan) == []
