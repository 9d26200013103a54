"""Mistakes with folders and stores: what `dataset push`, `check` and `base-model push` answer."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_playground.processes import choose_port
from desk import Desk
from journey import TEAPOTS
from plugin import Terminal, assert_refused

pytestmark = pytest.mark.cluster

NOW_NOT = "docs/commands.md#it-cannot-be-done-now"
NO_SUCH = "docs/commands.md#no-such-object"
NOT_CONFIGURED = "docs/troubleshooting.md#storagenotconfigured"
UNAVAILABLE = "docs/troubleshooting.md#storageunavailable"
PREPARE = "docs/how-to/prepare-pictures.md"
TYPED = ""


@dataclass(frozen=True)
class Mistake:
    """What was typed, and what must be said: exit code, what is wrong and what to do, where to read on."""

    typed: str
    says: tuple[str, ...]
    page: str = NOW_NOT
    exit_code: int = 2


FOLDERS = {
    "no such folder": Mistake(
        "dataset push taepots", ("taepots is neither a folder nor an archive", "name the folder"), PREPARE
    ),
    "a picture for a folder": Mistake(
        "dataset push teapots/teapot-01.png", ("teapot-01.png is neither a folder nor an archive",), PREPARE
    ),
    "an empty folder": Mistake("dataset push empty", ("holds no pictures", "name the folder that does"), PREPARE),
    "a folder of something else": Mistake("dataset push texts", ("holds no pictures",), PREPARE),
    "a name with capitals": Mistake(
        "dataset push teapots --name Teapots", ("'Teapots' cannot name a Dataset", "such as teapots")
    ),
    "a name with blanks": Mistake(
        "dataset push teapots --name 'my pots'", ("'my pots' cannot name a Dataset", "such as my-pots")
    ),
    "a folder that gives no name": Mistake("dataset push 急須", ("no name follows from the folder", "--name")),
    "no folder at all": Mistake("dataset push", ("Missing argument",), TYPED),
    "a report of what is not there": Mistake(
        "dataset show-report taepots", ("there is no Dataset taepots", "did you mean teapots?"), NO_SUCH
    ),
}


@pytest.fixture
def pictures(desk: Desk, tmp_path: Path) -> Terminal:
    """A terminal in a folder with folders of several kinds in it."""
    shutil.copytree(TEAPOTS, tmp_path / "teapots")
    shutil.copytree(TEAPOTS, tmp_path / "急須")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("a shopping list")
    return replace(desk.terminal, folder=tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_mistake_with_a_folder(desk: Desk, pictures: Terminal, name: str) -> None:
    """The sentence says what is wrong with what was named, and nothing is sent."""
    mistake = FOLDERS[name]
    before = sum(1 for _ in desk.cluster.open_bucket().objects.filter(Prefix=f"atelier/{desk.namespace}/datasets/"))
    answer = pictures.type(*shlex.split(mistake.typed))
    assert_refused(answer, mistake.exit_code, *mistake.says, page=mistake.page)
    after = sum(1 for _ in desk.cluster.open_bucket().objects.filter(Prefix=f"atelier/{desk.namespace}/datasets/"))
    assert after == before


def take_away(desk: Desk, namespace: str) -> None:
    """Leave the namespace without its Secret."""
    desk.cluster.api.delete("v1", "Secret", names.STORE_SECRET, namespace)


def write_secret(**values: str) -> Callable[[Desk, str], None]:
    """Return what changes values of the namespace's Secret."""

    def change(desk: Desk, namespace: str) -> None:
        desk.cluster.api.patch("v1", "Secret", names.STORE_SECRET, {"stringData": values}, namespace)

    return change


STORES: dict[str, tuple[Callable[[Desk, str], None], Mistake]] = {
    "no Secret": (
        take_away,
        Mistake("", ("there is no Secret atelier-storage in namespace", "whoever set Atelier up can make it"), NO_SUCH),
    ),
    "a Secret without a bucket": (
        write_secret(**{names.KEY_BUCKET: ""}),
        Mistake("", ("atelier-storage", "bucket"), NOT_CONFIGURED),
    ),
    "wrong keys": (
        write_secret(**{names.KEY_ACCESS_KEY_ID: "nobody"}),
        Mistake("", ("atelier-storage",), NOT_CONFIGURED),
    ),
    "a bucket that is not there": (
        write_secret(**{names.KEY_BUCKET: "no-such-bucket"}),
        Mistake("", ("no-such-bucket",), NOT_CONFIGURED),
    ),
    "a store that nobody hears": (
        write_secret(**{names.KEY_ENDPOINT: f"http://127.0.0.1:{choose_port()}"}),
        Mistake("", ("forward a port", "--store-endpoint"), UNAVAILABLE, 3),
    ),
    "an address that is none": (
        write_secret(**{names.KEY_ENDPOINT: "minio:9000"}),
        Mistake("", ("endpoint",), NOT_CONFIGURED),
    ),
}


@pytest.mark.parametrize("name", STORES)
def test_a_mistake_with_the_store(desk: Desk, pictures: Terminal, name: str, namespace: str) -> None:
    """The sentence names the Secret or the address, says what to do, and no value of a key."""
    change, mistake = STORES[name]
    desk.cluster.make_user_namespace(namespace)
    change(desk, namespace)
    answer = replace(pictures, namespace=namespace).type("dataset", "push", "teapots")
    assert_refused(answer, mistake.exit_code, *mistake.says, page=mistake.page)
    assert desk.cluster.store.secret_key not in answer.everything


def test_the_store_of_another(desk: Desk, pictures: Terminal, namespace: str) -> None:
    """A store that another cluster's namespace has claimed is not written to."""
    bucket = desk.cluster.open_bucket()
    owner = b'{"schemaVersion":1,"clusterUid":"someone","namespaceUid":"else"}'
    bucket.put_object(Key=f"atelier/{namespace}/owner.json", Body=owner)
    answer = replace(pictures, namespace=namespace).type("dataset", "push", "teapots")
    says = ("owner.json", "prefix")
    assert_refused(answer, 2, *says, page="docs/troubleshooting.md#storageownedbyanother")


def test_a_volume_from_outside(desk: Desk, pictures: Terminal) -> None:
    """A store on a volume cannot be reached from outside, and the sentence says what to do instead."""
    desk.cluster.api.apply(
        {
            "apiVersion": names.API_VERSION,
            "kind": "Dataset",
            "metadata": {"name": "shelf"},
            "spec": {"source": {"upload": {}}, "storage": {"persistentVolumeClaim": {"claimName": "photos"}}},
        },
        desk.namespace,
    )
    answer = pictures.type("dataset", "push", "teapots", "--name", "shelf")
    assert_refused(answer, 2, "PersistentVolumeClaim photos", "kubectl cp", page=NOW_NOT)
