"""What the real API server takes and refuses, and that each refusal says what to change."""

from __future__ import annotations

from typing import Any

import pytest

from atelier_contract import dataset, names, training_job
from atelier_playground.api import Object
from atelier_playground.cluster import Cluster
from atelier_playground.errors import ApiError
from contract_examples import a_spec, an_object
from contradictory_specs import COMPATIBLE, CONTRADICTORY

pytestmark = pytest.mark.cluster

KIND = training_job.KIND


@pytest.fixture
def room(installed: Cluster, namespace: str) -> Room:
    """A namespace of the test's own on a cluster that knows our kinds."""
    return Room(installed, namespace)


class Room:
    """One namespace, and what a user does in it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api = cluster.api
        self.cluster = cluster
        self.namespace = namespace

    def create(self, *, name: str = "teapot", **changes: Any) -> Object:
        return self.api.create(an_object(name=name, spec=a_spec(**changes)), self.namespace)

    def change(self, spec: dict[str, Any], *, name: str = "teapot") -> Object:
        return self.api.patch(names.API_VERSION, KIND, name, {"spec": spec}, self.namespace)

    def write_status(self, status: dict[str, Any], *, name: str = "teapot") -> Object:
        path = self.api.path(names.API_VERSION, KIND, self.namespace, name) + "/status"
        answer: Object = self.api.request("PATCH", path, {"status": status}, "application/merge-patch+json")
        return answer


REFUSED_AT_CREATION: dict[str, tuple[dict[str, Any], str]] = {
    "both types": ({"embedding": {}}, "exactly one of conceptModel"),
    "no type": ({"conceptModel": None}, "write `conceptModel: {}`"),
    "initial phrase of 9": ({"conceptModel": None, "embedding": {"initialPhrase": "nine char"}}, "than 8"),
    "no steps": ({"steps": 0}, "greater than or equal to 1"),
    "unknown family": (
        {"baseModel": {"architecture": "StableDiffusion9", "source": {"storage": {"path": "x"}}}},
        'supported values: "StableDiffusion1", "StableDiffusionXL", "Flux1"',
    ),
    "embedding for FLUX": (
        {
            "conceptModel": None,
            "embedding": {},
            "baseModel": {"architecture": "Flux1", "source": {"storage": {"path": "x"}}},
        },
        "use conceptModel instead",
    ),
    "no base model source": ({"baseModel": {"architecture": "Flux1", "source": {}}}, "exactly one of storage"),
    "two base model sources": (
        {
            "baseModel": {
                "architecture": "Flux1",
                "source": {"storage": {"path": "x"}, "persistentVolumeClaim": {"claimName": "x"}},
            }
        },
        "exactly one of storage",
    ),
    "branch as revision": (
        {
            "baseModel": {
                "architecture": "Flux1",
                "source": {"huggingFace": {"repository": "owner/name", "revision": "main"}},
            }
        },
        "revision",
    ),
    "path upwards": (
        {"baseModel": {"architecture": "Flux1", "source": {"storage": {"path": "../other"}}}},
        "spec.baseModel.source.storage.path",
    ),
    "learning rate of 0": ({"learningRate": 0}, "greater than 0"),
    "finalize without a name": ({"selection": {"finalize": True}}, "set spec.deletionPolicy to Delete"),
    "one name twice": ({"selection": {"checkpoints": ["step-000500", "step-000500"]}}, "Duplicate"),
    "no checkpoint's name": ({"selection": {"checkpoints": ["best"]}}, "step-[0-9]"),
    "two stores": (
        {"storage": {"secretRef": {"name": "x"}, "persistentVolumeClaim": {"claimName": "x"}}},
        "exactly one of secretRef",
    ),
    "password in an address": ({"publish": {"invokeAI": {"url": "http://me:secret@invoke:9090"}}}, "url"),
    **CONTRADICTORY,
}


@pytest.mark.parametrize("case", REFUSED_AT_CREATION)
def test_wrong_job_is_refused_in_words(room: Room, case: str) -> None:
    """A job that cannot be meant so is refused before anything starts, and the answer says what to change."""
    changes, words = REFUSED_AT_CREATION[case]
    with pytest.raises(ApiError, match="422") as refused:
        room.create(**changes)
    assert words in str(refused.value)


@pytest.mark.parametrize("case", COMPATIBLE)
def test_compatible_job_is_taken(room: Room, case: str) -> None:
    """What lies next to a contradiction and is none is taken, as Python takes it."""
    room.create(**COMPATIBLE[case])


def test_long_name_is_refused(room: Room) -> None:
    """A name of 51 characters would give names of Jobs that Kubernetes refuses later."""
    room.create(name="a" * names.MAX_NAME_LENGTH)
    with pytest.raises(ApiError, match="at most 50 characters"):
        room.create(name="a" * (names.MAX_NAME_LENGTH + 1))


IMMUTABLE = [
    ({"steps": 2000}, {"steps": 2001}, "steps"),
    ({"steps": 2000}, {"steps": None}, "steps"),
    ({}, {"steps": 2000}, "steps"),
    ({}, {"modelName": "other"}, "modelName"),
    ({}, {"datasetRef": {"name": "cups"}}, "datasetRef"),
    ({}, {"conceptModel": {"rank": 4}}, "conceptModel"),
    ({}, {"pod": {"gpus": 0}}, "pod"),
    ({"tuning": {"seed": 1}}, {"tuning": {"seed": None, "flip": True}}, "tuning"),
    ({}, {"runId": "again"}, "runId"),
]


@pytest.mark.parametrize(("before", "change", "field"), IMMUTABLE, ids=[f"{b} {c}" for b, c, _ in IMMUTABLE])
def test_immutable_field_stays(room: Room, before: dict[str, Any], change: dict[str, Any], field: str) -> None:
    """What decides a run cannot be changed, added or taken away, and the answer names the way out."""
    room.create(**before)
    with pytest.raises(ApiError, match=f"{field} cannot change after creation: create a new TrainingJob") as refused:
        room.change(change)
    assert "startFrom" in str(refused.value)


def test_type_cannot_be_swapped(room: Room) -> None:
    """A concept model does not become an embedding."""
    room.create()
    with pytest.raises(ApiError, match="cannot change after creation"):
        room.change({"conceptModel": None, "embedding": {}})


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"stop": True},
        {"selection": {"checkpoints": ["step-000500"], "finalize": True}},
        {"retention": {"graceSeconds": 0}},
        {"publish": {"invokeAI": {"url": "http://invoke:9090"}}},
        {"deletionPolicy": "Delete"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_mutable_field_changes(room: Room, change: dict[str, Any]) -> None:
    """What happens to a run after its start can be changed while it lives."""
    room.create()
    assert room.change(change)["spec"].items() >= change.items()


@pytest.mark.parametrize("change", [{"stop": False}, {"stop": None}], ids=["false", "removed"])
def test_stop_is_one_way(room: Room, change: dict[str, Any]) -> None:
    """A stopped run cannot be unstopped by changing or removing the field."""
    room.create(stop=True)
    with pytest.raises(ApiError, match="stop cannot be taken back"):
        room.change(change)


def a_collection(**changes: Any) -> dict[str, Any]:
    collection = {"selectionDigest": "0" * 64, "checkpoints": 1, "bytes": 1, "notBefore": "2026-11-23T00:00:00Z"}
    return {"collection": {**collection, **changes}}


@pytest.mark.parametrize(
    "change",
    [{"selection": {"checkpoints": ["step-001000"]}}, {"selection": None}, {"selection": {"finalize": False}}],
    ids=["other", "removed", "not final"],
)
def test_selection_is_frozen_once_deletion_has_begun(room: Room, change: dict[str, Any]) -> None:
    """After status.collection.startedAt the list of what goes is fixed."""
    room.create(selection={"checkpoints": ["step-000500"], "finalize": True})
    room.write_status(a_collection(startedAt="2026-11-23T00:10:00Z"))
    with pytest.raises(ApiError, match="frozen once deletion has begun"):
        room.change(change)


def test_selection_can_rescue_until_deletion_begins(room: Room) -> None:
    """In the grace time another selection is taken."""
    room.create(selection={"checkpoints": ["step-000500"], "finalize": True})
    room.write_status(a_collection())
    changed = room.change({"selection": {"checkpoints": ["step-001000"]}})
    assert changed["spec"]["selection"]["checkpoints"] == ["step-001000"]


def test_other_fields_change_while_deletion_runs(room: Room) -> None:
    """Freezing the selection freezes nothing else."""
    room.create(selection={"checkpoints": ["step-000500"], "finalize": True})
    room.write_status(a_collection(startedAt="2026-11-23T00:10:00Z"))
    assert room.change({"deletionPolicy": "Delete"})["spec"]["deletionPolicy"] == "Delete"


def test_learning_rate_in_scientific_notation(room: Room) -> None:
    """`learningRate: 1e-4` as people write it is taken by kubectl, and is a number."""
    text = f"""
        apiVersion: {names.API_VERSION}
        kind: TrainingJob
        metadata: {{name: teapot}}
        spec:
          modelName: TKXW teapot
          datasetRef: {{name: teapots}}
          baseModel: {{architecture: StableDiffusion1, source: {{storage: {{path: base-models/tiny}}}}}}
          conceptModel: {{}}
          learningRate: 1e-4
    """
    room.cluster.kubectl("apply", "-n", room.namespace, "-f", "-", text=text)
    found = room.api.get(names.API_VERSION, KIND, "teapot", room.namespace)
    assert found["spec"]["learningRate"] == 0.0001


def test_unknown_field_is_refused_where_validation_is_strict(room: Room) -> None:
    """With kubectl, which asks for strict validation: a misspelt field is named."""
    path = room.api.path(names.API_VERSION, KIND, room.namespace) + "?fieldValidation=Strict"
    with pytest.raises(ApiError, match=r'unknown field "spec\.lerningRate"'):
        room.api.request("POST", path, an_object(spec=a_spec(lerningRate=1)))


def test_unknown_field_is_pruned_elsewhere(room: Room) -> None:
    """A client that does not ask for strictness gets an object without the unknown field."""
    assert "lerningRate" not in room.create(lerningRate=1)["spec"]


def test_applying_twice_changes_nothing(room: Room) -> None:
    """The same YAML applied again is no write: neither generation nor version moves."""
    document = an_object(spec=a_spec(learningRate=0.0001, steps=2000, pod={"memory": "16Gi"}))
    first = room.api.apply(document, room.namespace)["metadata"]
    again = room.api.apply(document, room.namespace)["metadata"]
    assert (again["generation"], again["resourceVersion"]) == (first["generation"], first["resourceVersion"])


def test_nothing_is_filled_in(room: Room) -> None:
    """The spec that is stored is the spec that was written: no default comes between Git and the cluster."""
    spec = a_spec(tuning={}, pod={}, validation={}, selection={}, publish={}, retention={})
    assert room.create(**{key: spec[key] for key in spec})["spec"] == spec


def test_status_is_not_written_with_the_spec(room: Room) -> None:
    """Status is a part of its own, which people's rights on the object do not cover."""
    document = {**an_object(spec=a_spec()), "status": {"runIdentity": "0" * 64}}
    assert "status" not in room.api.create(document, room.namespace)


def test_status_rows_merge_by_name(room: Room) -> None:
    """Two appliers of conditions keep each other's rows: the list is a map by type."""
    room.create()
    for owner, kind in (("one", "Ready"), ("two", "Example")):
        condition = {"type": kind, "status": "True", "reason": "X", "lastTransitionTime": "2026-11-23T00:00:00Z"}
        document = {"apiVersion": names.API_VERSION, "kind": KIND, "status": {"conditions": [condition]}}
        path = f"{room.api.path(names.API_VERSION, KIND, room.namespace, 'teapot')}/status?fieldManager={owner}"
        room.api.request("PATCH", path, document, "application/apply-patch+yaml")
    found = room.api.get(names.API_VERSION, KIND, "teapot", room.namespace)
    assert {row["type"] for row in found["status"]["conditions"]} == {"Ready", "Example"}


def test_table_tells_where_a_run_stands(room: Room) -> None:
    """The table of kubectl get prints state, progress, step, loss, time left and what is kept."""
    room.create()
    condition = {"type": "Ready", "status": "False", "reason": "Training", "lastTransitionTime": "2026-11-23T00:00:00Z"}
    progress = {"step": 500, "totalSteps": 2000, "percent": 25, "loss": "0.1234", "remainingSeconds": 3600}
    room.write_status({"conditions": [condition], "progress": progress, "kept": "0/2"})
    table = room.cluster.kubectl("get", "train", "-n", room.namespace).splitlines()
    assert table[0].split() == ["NAME", "STATE", "PROGRESS", "STEP", "LOSS", "ETA", "KEPT", "AGE"]
    assert table[1].split()[:7] == ["teapot", "Training", "25", "500", "0.1234", "3600", "0/2"]


def test_jobs_are_found_by_their_dataset(room: Room) -> None:
    """The API server itself picks the jobs of a dataset."""
    room.create(name="one")
    room.create(name="two", datasetRef={"name": "cups"})
    found = room.cluster.kubectl(
        "get", "train", "-n", room.namespace, "-o", "name", "--field-selector", "spec.datasetRef.name=cups"
    )
    assert found.split() == ["trainingjob.atelier.dev/two"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "write `upload: {}`"),
        ({"upload": {}, "s3": {"uri": "s3://studio/teapots"}}, "exactly one of upload"),
        ({"s3": {"uri": "https://example.com/teapots"}}, "spec.source.s3.uri"),
    ],
    ids=["none", "two", "no bucket"],
)
def test_wrong_dataset_is_refused_in_words(room: Room, source: dict[str, Any], words: str) -> None:
    """A dataset has exactly one source of a kind that can be read."""
    with pytest.raises(ApiError, match="422") as refused:
        room.api.create(an_object(dataset.KIND, "teapots", spec={"source": source}), room.namespace)
    assert words in str(refused.value)


def test_dataset_may_change_its_source(room: Room) -> None:
    """A dataset's source is mutable: a change is inspected anew."""
    room.api.create(an_object(dataset.KIND, "teapots", spec={"source": {"upload": {}}}), room.namespace)
    change = {"spec": {"source": {"upload": None, "s3": {"uri": "s3://studio/teapots"}}}}
    changed = room.api.patch(names.API_VERSION, dataset.KIND, "teapots", change, room.namespace)
    assert changed["spec"]["source"] == {"s3": {"uri": "s3://studio/teapots"}}


def test_every_field_is_explained(room: Room) -> None:
    """In kubectl explain there is each kind down to its leaves."""
    text = room.cluster.kubectl("explain", "trainingjob.spec", "--recursive")
    assert "initialPhrase" in text
    assert "at most 8 characters" in room.cluster.kubectl("explain", "trainingjob.spec.embedding.initialPhrase")
