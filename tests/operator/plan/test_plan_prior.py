"""Prior pictures from a Dataset: waited for as the main one is, pinned with it, and told to the trainer."""

from __future__ import annotations

import json
from typing import Any

from atelier_contract import names
from atelier_contract.identity import identify_run
from atelier_contract.reasons import Condition, Reason
from atelier_operator.model import ObservedDataset
from operator_builders import IMAGE, REVISION, a_dataset, a_spec, a_view, condition_of, created
from plan_stages import Stage, after_preflight, look_at

PRIOR_REVISION = "e" * 64
SPEC = a_spec(conceptModel={"priorPreservation": {"datasetRef": {"name": "others"}}})


def look_with(prior: ObservedDataset | None) -> Stage:
    """Look at a run whose own dataset is ready."""
    return look_at(a_view(SPEC, prior_dataset=prior))


def told(stage: Stage) -> dict[str, Any]:
    """What the first child is told."""
    text = created(stage.plan)[0].config_map["data"][names.INPUT_FILE]
    document: dict[str, Any] = json.loads(text)
    return document


def test_missing_prior_dataset_is_waited_for() -> None:
    """A prior dataset that is not there yet may come with the same apply."""
    stage = look_with(None)
    assert condition_of(stage.plan, Condition.READY).reason == "WaitingForDataset"
    assert "there is no Dataset others" in condition_of(stage.plan, Condition.READY).message
    assert stage.plan.actions == ()


def test_unready_prior_dataset_is_waited_for() -> None:
    """A prior dataset is inspected before it is used."""
    stage = look_with(a_dataset(ready=False))
    assert "Dataset others is not ready" in condition_of(stage.plan, Condition.READY).message


def test_prior_pictures_need_no_captions() -> None:
    """What an embedding could not do without a caption a prior picture can: it is shown with the empty text."""
    stage = look_with(a_dataset(revision=PRIOR_REVISION, captioned=0, usable_for=["Embedding"]))
    assert stage.status.run_identity


def test_prior_dataset_with_credentials_of_its_own_is_refused() -> None:
    """A pod mounts one dataset's credentials; the message says what to do."""
    s3 = {"uri": "s3://other/cups", "secretRef": {"name": "other"}}
    stage = look_with(a_dataset(revision=PRIOR_REVISION, spec={"source": {"s3": s3}}))
    claimed = condition_of(stage.plan, Condition.DATASET_READY)
    assert claimed.reason == Reason.DATASET_UNUSABLE
    assert "upload its pictures" in claimed.message


def test_prior_revision_is_pinned() -> None:
    """Other prior pictures are another run, and the revision is on record."""
    stage = look_with(a_dataset(revision=PRIOR_REVISION))
    digest = stage.status.spec_digest or ""
    assert stage.status.prior_dataset_revision == PRIOR_REVISION
    assert stage.status.run_identity == identify_run(digest, REVISION, IMAGE, PRIOR_REVISION)
    assert stage.status.run_identity != identify_run(digest, REVISION, IMAGE)


def test_trainer_is_told_of_the_prior_dataset() -> None:
    """Name, source and pinned revision reach the pod, as those of the main dataset do."""
    document = told(look_with(a_dataset(revision=PRIOR_REVISION)))
    assert document["priorDataset"] == {"name": "others", "source": {"upload": {}}, "revision": PRIOR_REVISION}
    assert document["settings"]["conceptModel"]["prior"]["weight"] == 1.0


def test_trainer_is_told_of_none_where_none_is_named() -> None:
    """Without a datasetRef there is no prior dataset."""
    assert "priorDataset" not in told(look_at(a_view()))


def test_run_waits_where_its_prior_dataset_is_gone() -> None:
    """A pinned run without its prior pictures would be another run: it waits and says for what."""
    stage = after_preflight(look_with(a_dataset(revision=PRIOR_REVISION)).then(prior_dataset=None))
    ready = condition_of(stage.plan, Condition.READY)
    assert ready.reason == "WaitingForDataset"
    assert "no Dataset others any more" in ready.message
