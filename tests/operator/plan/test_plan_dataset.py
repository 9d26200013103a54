"""Datasets: when they are inspected, what an inspection means, and who is told to do what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from atelier_contract.dataset import DatasetLayout, DatasetSpec, DatasetStatus, FindingStatus
from atelier_contract.inputs import InspectInput
from atelier_contract.names import ANNOTATION_INSPECT_REQUESTED_AT, INPUT_FILE
from atelier_contract.reasons import DATASET_CONDITIONS, Condition, Reason
from atelier_contract.roles import Role
from atelier_operator.model import DatasetView, DeleteJob, ObservedJob, ObservedPod, Plan
from atelier_operator.plan.decide_dataset import decide
from operator_builders import (
    NOW,
    REVISION,
    a_dataset_view,
    a_job,
    a_meta,
    a_pending_pod,
    a_report,
    an_ended_pod,
    an_inspection_report,
    condition_of,
    created,
    created_names,
    later,
)

MISSING = FindingStatus(reason="CaptionMissing", severity="Warning", count=2, example="a.png", fix="add a.txt")


@dataclass(frozen=True)
class Look:
    """One look at a dataset."""

    view: DatasetView
    now: datetime
    plan: Plan

    def then(self, *, seconds: float = 0.0, **changes: Any) -> Look:
        """Write the plan's status, change the view, look again."""
        view = replace(self.view, status=self.plan.status, **changes)
        now = later((self.now - NOW).total_seconds() + seconds)
        return Look(view, now, decide(view, now))

    @property
    def status(self) -> DatasetStatus:
        """The status that the plan writes."""
        assert isinstance(self.plan.status, DatasetStatus)
        return self.plan.status


def look_at(view: DatasetView, now: datetime = NOW) -> Look:
    """Look at a dataset."""
    return Look(view, now, decide(view, now))


def inspection(number: int = 1, *pods: ObservedPod, **changes: Any) -> ObservedJob:
    """An inspection's Job."""
    return a_job(f"teapots-inspect-{number}", Role.INSPECT, *pods, **{"owner_uid": "teapots-uid", **changes})


def inspected(first: Look | None = None, **found: Any) -> Look:
    """A dataset whose first inspection has ended with a result."""
    pod = an_ended_pod(report=an_inspection_report(**found))
    return (first or look_at(a_dataset_view())).then(jobs=(inspection(1, pod, complete=True),))


def failed(reason: Reason, code: int, message: str = "it broke") -> Look:
    """A dataset whose first inspection has failed."""
    words = a_report(Role.INSPECT, reason, message=message)
    pod = an_ended_pod(code=code, report=words)
    return look_at(a_dataset_view()).then(jobs=(inspection(1, pod, failed=True),))


def ready(look: Look) -> tuple[str, str]:
    """Value and reason of Ready."""
    found = condition_of(look.plan, Condition.READY)
    return found.status, found.reason


def test_new_dataset_is_inspected() -> None:
    """The first look asks for an inspection and writes all three conditions."""
    look = look_at(a_dataset_view())
    assert created_names(look.plan) == ["teapots-inspect-1"]
    assert [c.type for c in look.status.conditions] == [kind.value for kind in DATASET_CONDITIONS]
    assert ready(look) == ("False", "Inspecting")
    document = InspectInput.from_bytes(created(look.plan)[0].config_map["data"][INPUT_FILE].encode())
    assert document.dataset.name == "teapots"


def test_inspection_is_told_the_layout() -> None:
    """What the Dataset says of its layout reaches the pod; a Dataset that says nothing leaves it to be detected."""
    spec = {"source": {"upload": {}}, "layout": "Kohya"}
    for view, layout in ((a_dataset_view(spec), DatasetLayout.KOHYA), (a_dataset_view(), None)):
        told = created(look_at(view).plan)[0].config_map["data"][INPUT_FILE]
        assert InspectInput.from_bytes(told.encode()).dataset.layout == layout


def test_inspection_is_asked_for_once() -> None:
    """While the Job is there, nothing is created and nothing written again."""
    look = look_at(a_dataset_view())
    again = look.then(jobs=(inspection(),))
    assert again.plan.actions == ()
    assert again.status == look.status


def test_vanished_job_is_asked_for_again() -> None:
    """An operator that died before the Job was there asks for the same one."""
    assert created_names(look_at(a_dataset_view()).then().plan) == ["teapots-inspect-1"]


def test_result_makes_it_ready() -> None:
    """A full set of captions serves both types; status tells what was found."""
    look = inspected()
    assert ready(look) == ("True", "Inspected")
    assert look.status.usable_for == ["ConceptModel", "Embedding"]
    assert (look.status.revision, look.status.items, look.status.captioned) == (REVISION, 12, 12)
    assert look.status.inspected_at == "2026-11-23T12:00:00Z"


def test_missing_captions_serve_embeddings_only() -> None:
    """Without a full set of captions the dataset is Ready for embeddings, and the file and fix are named."""
    look = inspected(captioned=10, findings=[MISSING])
    assert look.status.usable_for == ["Embedding"]
    message = condition_of(look.plan, Condition.READY).message
    assert "a.png" in message
    assert "add a.txt" in message


def test_result_is_kept_quietly() -> None:
    """After its Job has gone, an inspected dataset is looked at without effect."""
    look = inspected()
    again = look.then(jobs=(), seconds=100_000)
    assert again.plan.actions == ()
    assert again.status == look.status


def test_no_picture_is_not_ready() -> None:
    """A dataset without one usable picture is Stalled, with what to do, and is not looked at again by itself."""
    finding = FindingStatus(reason="NoPictures", severity="Error", count=1, fix="push a folder of pictures")
    report = an_inspection_report(items=0, captioned=0, revision="", findings=[finding])
    pod = an_ended_pod(code=11, report=report.model_copy(update={"reason": Reason.DATASET_UNUSABLE}))
    look = look_at(a_dataset_view()).then(jobs=(inspection(1, pod, failed=True),))
    assert ready(look) == ("False", "Unusable")
    assert condition_of(look.plan, Condition.STALLED).status == "True"
    assert "push a folder" in condition_of(look.plan, Condition.READY).message
    assert look.status.usable_for == []
    assert look.then(seconds=100_000).plan.actions == ()


def test_mistake_of_the_user_waits_for_the_user() -> None:
    """A source that cannot be read as it is described is not tried again and again."""
    look = failed(Reason.INVALID_INPUT, 10, "s3://photos does not exist")
    assert condition_of(look.plan, Condition.READY).message == "s3://photos does not exist"
    assert look.then(seconds=100_000).plan.actions == ()


def test_store_that_does_not_answer_is_asked_again() -> None:
    """What is nobody's mistake is tried again after a pause."""
    look = failed(Reason.STORAGE_UNAVAILABLE, 20)
    assert ready(look) == ("False", "InspectionFailed")
    assert look.plan.look_again_seconds == pytest.approx(30)
    assert look.then(seconds=29).plan.actions == ()
    assert created_names(look.then(seconds=31).plan) == ["teapots-inspect-2"]


def test_pause_grows_with_failures_in_a_row_only() -> None:
    """A dataset that was inspected often is asked again as soon as a new one; each failure more doubles the pause."""
    look = inspected()
    for number in range(2, 6):
        meta = replace(look.view.meta, annotations={ANNOTATION_INSPECT_REQUESTED_AT: str(number)})
        pod = an_ended_pod(f"pod-{number}", report=an_inspection_report())
        look = look.then(meta=meta).then(jobs=(inspection(number, pod, complete=True),))
    look = look.then(meta=replace(look.view.meta, annotations={ANNOTATION_INSPECT_REQUESTED_AT: "last"}))
    pauses = []
    for number in (6, 7):
        words = a_report(Role.INSPECT, Reason.STORAGE_UNAVAILABLE)
        broken = an_ended_pod(f"pod-{number}", code=20, report=words)
        look = look.then(jobs=(inspection(number, broken, failed=True),))
        pauses.append(look.plan.look_again_seconds)
        look = look.then(seconds=3600)
    assert pauses == [30.0, 60.0]
    done = look.then(jobs=(inspection(8, an_ended_pod("good", report=an_inspection_report()), complete=True),))
    assert done.status.failures is None


def test_secret_added_later_is_found() -> None:
    """A missing Secret is a failed inspection that is tried again: adding it is enough."""
    look = failed(Reason.STORAGE_NOT_CONFIGURED, 10, "Secret atelier-storage is missing")
    assert "missing" in condition_of(look.plan, Condition.STALLED).message
    assert created_names(look.then(seconds=31).plan) == ["teapots-inspect-2"]


def test_annotation_asks_for_another_look() -> None:
    """A new value inspects again, once; Ready speaks of the last revision meanwhile."""
    meta = a_meta(name="teapots", uid="teapots-uid", annotations={ANNOTATION_INSPECT_REQUESTED_AT: "now"})
    look = inspected().then(meta=meta)
    assert created_names(look.plan) == ["teapots-inspect-2"]
    assert look.status.last_handled_inspect_at == "now"
    assert ready(look) == ("True", "Inspected")
    assert condition_of(look.plan, Condition.RECONCILING).status == "True"
    pod = an_ended_pod("second", report=an_inspection_report(revision="e" * 64))
    done = look.then(jobs=(inspection(2, pod, complete=True),))
    assert done.status.revision == "e" * 64
    assert done.then().plan.actions == ()


def test_changed_source_is_inspected_anew() -> None:
    """Another source is another dataset; another description is not."""
    look = inspected()
    described = look.then(spec=DatasetSpec.model_validate({"source": {"upload": {}}, "description": "x"}))
    moved = look.then(spec=DatasetSpec.model_validate({"source": {"s3": {"uri": "s3://photos/a"}}}))
    assert described.plan.actions == ()
    assert created_names(moved.plan) == ["teapots-inspect-2"]


def test_change_during_an_inspection_ends_it() -> None:
    """A source that changes while it is inspected is inspected again, and the old Job deleted."""
    look = look_at(a_dataset_view()).then(jobs=(inspection(),))
    moved = look.then(spec=DatasetSpec.model_validate({"source": {"s3": {"uri": "s3://photos/a"}}}))
    assert moved.plan.actions[0] == DeleteJob("teapots-inspect-1", "teapots-inspect-1-uid")
    assert created_names(moved.plan) == ["teapots-inspect-2"]


def test_picture_that_kills_the_inspection_is_told() -> None:
    """An inspection killed for memory is a failure in words, not an endless retry by the Job."""
    pod = an_ended_pod(code=137, oom_killed=True)
    look = look_at(a_dataset_view()).then(jobs=(inspection(1, pod),))
    assert condition_of(look.plan, Condition.STALLED).reason == Reason.OUT_OF_HOST_MEMORY


def test_pod_that_does_not_start_is_given_up() -> None:
    """An image that cannot be pulled ends the inspection at the start deadline."""
    pod = a_pending_pod(scheduled_at=NOW, waiting_reason="ErrImagePull")
    look = look_at(a_dataset_view()).then(jobs=(inspection(1, pod),), seconds=1801)
    assert condition_of(look.plan, Condition.STALLED).reason == Reason.START_DEADLINE_EXCEEDED
    assert "ErrImagePull" in condition_of(look.plan, Condition.STALLED).message
    assert look.plan.actions == (DeleteJob("teapots-inspect-1", "teapots-inspect-1-uid"),)


def test_lost_last_words_are_asked_again() -> None:
    """A Job that succeeded without a word is a failed inspection."""
    look = look_at(a_dataset_view()).then(jobs=(inspection(1, complete=True),))
    assert ready(look) == ("False", "InspectionFailed")


def test_foreign_job_of_the_name_stalls_until_it_goes() -> None:
    """A Job of another owner under our name is not touched; when it goes, the inspection begins."""
    look = look_at(a_dataset_view(jobs=(inspection(owner_uid="someone"),)))
    assert condition_of(look.plan, Condition.STALLED).reason == Reason.NAME_TAKEN
    assert look.plan.actions == ()
    assert created_names(look.then(jobs=()).plan) == ["teapots-inspect-1"]


def test_refused_job_stalls_and_is_asked_for_again() -> None:
    """What the API server says is shown, until a later look succeeds."""
    look = look_at(a_dataset_view(refused="exceeded quota"))
    assert condition_of(look.plan, Condition.STALLED).reason == Reason.CREATE_REFUSED
    again = look.then(refused="")
    assert created_names(again.plan) == ["teapots-inspect-1"]
    assert condition_of(again.plan, Condition.STALLED).status == "False"


def test_deleted_dataset_is_left_alone() -> None:
    """A dataset that is going is not inspected."""
    view = a_dataset_view(meta=a_meta(name="teapots", uid="teapots-uid", deleted_at=later(0)))
    assert look_at(view).plan.actions == ()


def test_unreadable_spec_is_invalid_until_it_is_mended() -> None:
    """A spec that cannot be read is Invalid with what is wrong, and inspected once it can be."""
    look = look_at(replace(a_dataset_view(), spec=None, problem="spec.source: missing"))
    assert ready(look) == ("False", "Invalid")
    assert look.plan.actions == ()
    mended = look.then(spec=a_dataset_view().spec, problem="")
    assert created_names(mended.plan) == ["teapots-inspect-1"]
