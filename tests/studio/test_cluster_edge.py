"""The cluster as a normal person meets it: a real API server, the chart's roles, and an account with `edit`."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import names
from atelier_playground.cluster import Cluster as Playground
from atelier_studio.actions.tables import read_spec
from atelier_studio.actions.wishes import Wishes, build_job
from atelier_studio.edges.api_server import ApiServer
from atelier_studio.edges.cluster import DATASET, TEMPLATE, TRAINING_JOB, Cluster, Kind
from atelier_studio.errors import AlreadyExists, ChangedMeanwhile, ClusterRefused, Exit, NotFound
from person import Person, welcome_person

pytestmark = pytest.mark.cluster


@pytest.fixture
def person(installed: Playground, namespace: str, tmp_path: Path) -> Person:
    """An account that may edit the namespace."""
    return welcome_person(installed, namespace, tmp_path)


@pytest.fixture
def mine(person: Person, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The namespace as that person sees it, by their kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", str(person.kubeconfig))
    return Cluster(None, None)


def a_job(name: str = "teapot", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "kind": "ConceptModel",
        "model_name": "TKXW teapot",
        "dataset": "teapots",
        "architecture": "StableDiffusion1",
        "base_model": "base-models/tiny",
    }
    return build_job(name, Wishes(**{**given, **changes}))


def test_the_namespace_is_the_contexts_own(mine: Cluster, namespace: str):
    """Without --namespace the kubeconfig's context says where."""
    assert mine.namespace == namespace


def test_what_was_created_is_read_and_listed(mine: Cluster):
    """A created object is got and listed with its kind, and its spec is the one that was sent."""
    sent = a_job(learning_rate=1e-4)
    mine.create(TRAINING_JOB, sent)
    assert read_spec(mine.get(TRAINING_JOB, "teapot")).as_json() == sent["spec"]
    assert [(body["kind"], body["metadata"]["name"]) for body in mine.list(TRAINING_JOB)] == [("TrainingJob", "teapot")]


def test_a_rehearsal_changes_nothing(mine: Cluster):
    """A dry run is checked by the API server and leaves nothing behind."""
    mine.create(TRAINING_JOB, a_job(), dry_run=True)
    assert mine.list(TRAINING_JOB) == []
    mine.create(TRAINING_JOB, a_job())
    mine.patch(TRAINING_JOB, "teapot", {"spec": {"stop": True}}, dry_run=True)
    assert "stop" not in mine.get(TRAINING_JOB, "teapot")["spec"]


def test_a_missing_object_gets_near_names(mine: Cluster, namespace: str):
    """A misspelt name is answered with the names like it, for reading and for changing."""
    mine.create(TRAINING_JOB, a_job())
    said = f"there is no TrainingJob teapto in namespace {namespace}: did you mean teapot"
    asks: tuple[Callable[[], Any], ...] = (
        lambda: mine.get(TRAINING_JOB, "teapto"),
        lambda: mine.patch(TRAINING_JOB, "teapto", {"spec": {"stop": True}}),
        lambda: next(mine.watch(TRAINING_JOB, "teapto")),
    )
    for ask in asks:
        with pytest.raises(NotFound, match=said):
            ask()


def test_a_kind_that_is_not_installed_is_told_as_such(mine: Cluster):
    """In a cluster without Atelier the sentence is about that, not about a name."""
    foreign = Kind("Painting", "paintings")
    for ask in (lambda: mine.list(foreign), lambda: mine.get(foreign, "x")):
        with pytest.raises(NotFound, match="Atelier is not installed in it"):
            ask()


def test_a_taken_name_is_refused(mine: Cluster):
    """A second object of a name is refused, in a rehearsal too."""
    mine.create(TRAINING_JOB, a_job())
    for dry_run in (True, False):
        with pytest.raises(AlreadyExists, match="choose another name"):
            mine.create(TRAINING_JOB, a_job(), dry_run=dry_run)


def test_a_misspelt_field_is_refused(mine: Cluster):
    """A field that there is not is refused instead of being dropped."""
    body = a_job()
    body["spec"]["stpes"] = 10
    with pytest.raises(ClusterRefused, match=r"there is no field spec\.stpes"):
        mine.create(TRAINING_JOB, body)


def test_a_rule_of_the_contract_is_told_in_its_own_words(mine: Cluster):
    """The API server's refusal is the contract's sentence, without what it wraps around it."""
    body = a_job()
    body["spec"]["embedding"] = {}
    with pytest.raises(ClusterRefused) as refused:
        mine.create(TRAINING_JOB, body)
    sentence = "name exactly one of conceptModel (write `conceptModel: {}` for its defaults) and embedding"
    assert str(refused.value) == sentence


def test_what_is_fixed_is_told_as_fixed(mine: Cluster):
    """A change of what a job trains is refused with the way out."""
    mine.create(TRAINING_JOB, a_job())
    with pytest.raises(ClusterRefused, match="startFrom"):
        mine.patch(TRAINING_JOB, "teapot", {"spec": {"modelName": "another"}})


def test_a_change_onto_an_older_look_is_not_written(mine: Cluster):
    """What was decided on an object that somebody has changed since is not written."""
    seen = mine.create(TRAINING_JOB, a_job())
    mine.patch(TRAINING_JOB, "teapot", {"spec": {"suspend": True}}, seen=seen)
    with pytest.raises(ChangedMeanwhile):
        mine.patch(TRAINING_JOB, "teapot", {"spec": {"suspend": False}}, seen=seen)
    assert mine.get(TRAINING_JOB, "teapot")["spec"]["suspend"] is True


def test_a_watch_sees_each_change(mine: Cluster):
    """A watch begins with the object as it is and goes on with its changes."""
    mine.create(TRAINING_JOB, a_job())
    looks = mine.watch(TRAINING_JOB, "teapot")
    assert "suspend" not in next(looks)["spec"]
    mine.patch(TRAINING_JOB, "teapot", {"spec": {"suspend": True}})
    assert next(looks)["spec"]["suspend"] is True
    mine.patch(TRAINING_JOB, "teapot", {"spec": {"suspend": False}})
    assert next(looks)["spec"]["suspend"] is False


def test_a_watch_ends_when_the_object_goes(mine: Cluster, installed: Playground, namespace: str):
    """Who watches what is deleted is told so instead of waiting for ever."""
    mine.create(DATASET, {**a_dataset(), "metadata": {"name": "teapots"}})
    looks = mine.watch(DATASET, "teapots")
    next(looks)
    delete = threading.Thread(target=installed.api.delete, args=(names.API_VERSION, "Dataset", "teapots", namespace))
    delete.start()
    with pytest.raises(NotFound, match="there is no Dataset teapots"):
        next(looks)
    delete.join()


def a_dataset() -> dict[str, Any]:
    return {"apiVersion": names.API_VERSION, "kind": "Dataset", "spec": {"source": {"upload": {}}}}


def test_a_watch_is_asked_again_when_it_ends(mine: Cluster, monkeypatch: pytest.MonkeyPatch):
    """API servers end watches after some minutes: nothing is missed and nothing is seen twice."""
    monkeypatch.setattr("atelier_studio.edges.cluster.WATCH_SECONDS", 1)
    asked: list[str] = []
    is_asked_thrice = threading.Event()
    stream_lines = ApiServer.stream_lines

    def count(server: ApiServer, path: str, query: dict[str, str], timeout_seconds: int) -> Any:
        asked.append(path)
        if len(asked) == 3:
            is_asked_thrice.set()
        return stream_lines(server, path, query, timeout_seconds)

    monkeypatch.setattr(ApiServer, "stream_lines", count)
    mine.create(TRAINING_JOB, a_job())
    looks = mine.watch(TRAINING_JOB, "teapot")
    first = next(looks)

    def change() -> None:
        assert is_asked_thrice.wait(60)
        mine.patch(TRAINING_JOB, "teapot", {"spec": {"suspend": True}})

    later = threading.Thread(target=change)
    later.start()
    second = next(looks)
    later.join()
    assert second["spec"]["suspend"] is True
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


def test_edit_is_all_a_person_needs(mine: Cluster, namespace: str, installed: Playground):
    """The role `edit` reads the store's Secret, the namespace's UID, templates, pods, events; not kube-system."""
    assert mine.read_secret(names.STORE_SECRET)[names.KEY_BUCKET] == "atelier"
    assert mine.namespace_uid() == installed.api.get("v1", "Namespace", namespace)["metadata"]["uid"]
    assert {body["metadata"]["name"] for body in mine.list(TEMPLATE)} >= {"object", "style"}
    assert mine.pods("teapot") == []
    assert mine.events("no-such-uid") == []
    assert mine.cluster_uid() is None


def test_a_missing_secret_says_who_can_make_it(mine: Cluster):
    """A namespace without storage is for whoever set Atelier up."""
    with pytest.raises(NotFound, match="there is no Secret nowhere"):
        mine.read_secret("nowhere")


def test_another_namespace_is_refused_with_the_role(mine: Cluster, person: Person):
    """Where a person has no rights, the role that gives them is named."""
    del mine
    with pytest.raises(ClusterRefused, match="The role `edit`"):
        Cluster("kube-system", None).list(TRAINING_JOB)


def test_names_are_completed_from_the_cluster(mine: Cluster, person: Person):
    """The Tab key proposes the namespace's jobs, each with its state."""
    mine.create(TRAINING_JOB, a_job())
    mine.create(TRAINING_JOB, a_job("dragon"))
    assert person.complete("watch", "t") == "teapot\tPending\n:4\n"


def test_leaving_the_questions_creates_nothing(mine: Cluster, person: Person):
    """Ctrl-C at a question ends with the code of an interrupted program, and nothing is there."""
    mine.create(DATASET, {**a_dataset(), "metadata": {"name": "teapots"}})
    person.type_at_terminal(
        "create", answers=[("What do you want to train?", "\r"), ("Dataset", "\x03")], code=Exit.INTERRUPTED
    )
    assert mine.list(TRAINING_JOB) == []


def test_without_a_dataset_there_is_nothing_to_ask(person: Person):
    """In an empty namespace `create` says which command comes first."""
    said = person.type_at_terminal("create", "embedding", code=Exit.BAD_REQUEST)
    assert "kubectl atelier dataset push FOLDER" in " ".join(said.out.split())


def test_a_cluster_that_does_not_answer_is_a_sentence(person: Person):
    """A wrong address is told with what to look at, quickly and without the libraries' warnings."""
    text = person.kubeconfig.read_text()
    address = text[text.index("https://") :].partition('"')[0]
    person.kubeconfig.write_text(text.replace(address, "https://127.0.0.1:1"))
    said = person.type("list", code=3)
    assert said.err.startswith("kubectl atelier: the API server at https://127.0.0.1:1 does not answer")
    assert "Retrying" not in said.err
