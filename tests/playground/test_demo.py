"""The demo on a cluster that is a person's own: what it refuses to meet, what it takes away, and when it gives up."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from atelier_contract.layout import NamespaceLayout
from atelier_contract.reasons import State
from atelier_contract.training_job_status import ProgressStatus
from atelier_playground.demo.luggage import Luggage, require_free_names
from atelier_playground.demo.progress_bar import ProgressBar
from atelier_playground.demo.stage import Stage
from atelier_playground.demo.store import Store
from atelier_playground.demo.story import Story
from atelier_playground.errors import ApiError, PlaygroundError, WaitedTooLong

NAMESPACE = "studio-7"
IDENTITY = "ab" * 32


class ObjectsInMemory:
    """The part of `Api` that the luggage uses: objects by kind and name, each with a uid of its own."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = itertools.count()

    def create(self, document: dict[str, Any], namespace: str) -> dict[str, Any]:
        key = (document["kind"], document["metadata"]["name"])
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{key} exists")
        metadata = {**document["metadata"], "uid": f"uid-{next(self._numbers)}"}
        self.objects[key] = {**document, "metadata": metadata}
        return self.objects[key]

    def find(self, api_version: str, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        return self.objects.get((kind, name))

    def get(self, api_version: str, kind: str, name: str, namespace: str) -> dict[str, Any]:
        return self.objects[kind, name]

    def delete(self, api_version: str, kind: str, name: str, namespace: str) -> None:
        del self.objects[kind, name]

    def list(self, api_version: str, kind: str, namespace: str) -> list[dict[str, Any]]:
        return [body for (found, _), body in self.objects.items() if found == kind]


class BucketInMemory:
    """The part of a boto3 bucket that the demo's store uses."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.objects = self
        # boto3's own spelling.
        self.Object = self._open

    def upload_file(self, path: str, key: str) -> None:
        self.contents[key] = Path(path).read_bytes()

    def filter(self, **query: Any) -> Iterator[Any]:
        return (self._open(key) for key in sorted(self.contents) if key.startswith(query["Prefix"]))

    def _open(self, key: str) -> Any:
        return SimpleNamespace(key=key, delete=lambda: self.contents.pop(key, None))


@pytest.fixture
def api() -> ObjectsInMemory:
    """An API server with nothing in it."""
    return ObjectsInMemory()


@pytest.fixture
def bucket() -> BucketInMemory:
    """An empty bucket."""
    return BucketInMemory()


@pytest.fixture
def store(bucket: BucketInMemory) -> Store:
    """The namespace's store in the bucket."""
    return Store(bucket, "art", NamespaceLayout(NAMESPACE, "team"))


@pytest.fixture
def luggage(api: ObjectsInMemory, store: Store, tmp_path: Path) -> Luggage:
    """A telling that brought a picture, its dataset and its job, of which Atelier made a revision and a run."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(b"picture")
    brought = Luggage(api, NAMESPACE, store)
    brought.upload_folder(tmp_path / "in", "pictures", "teapots")
    brought.create(build_object("Dataset", "teapots"))
    brought.create(build_object("TrainingJob", "teapot", status={"runIdentity": IDENTITY}))
    for key in (store.layout.revision("teapots", "cd" * 32), store.layout.run("teapot", IDENTITY).manifest):
        store.bucket.contents[key] = b"made"
    return brought


def build_object(kind: str, name: str, **fields: object) -> dict[str, Any]:
    """Build an object of Atelier's."""
    return {"kind": kind, "metadata": {"name": name}, **fields}


class TestRefusal:
    @pytest.mark.parametrize(("kind", "name"), [("TrainingJob", "teapot"), ("Dataset", "teapots")])
    def test_taken_object_is_refused(self, kind: str, name: str, api: ObjectsInMemory, store: Store):
        """An object of the demo's name stops the demo, by name."""
        api.create(build_object(kind, name), NAMESPACE)
        with pytest.raises(PlaygroundError, match=rf"studio-7 has a {kind} {name} already; nothing was changed"):
            require_free_names(api, NAMESPACE, store)

    @pytest.mark.parametrize(
        "key",
        ["pictures/teapots/a.png", "base-models/tiny/vae/x", "datasets/teapots/pushes/p", "runs/teapot/0/run.json"],
    )
    def test_taken_key_is_refused_and_stays(self, key: str, api: ObjectsInMemory, store: Store, bucket: BucketInMemory):
        """An object of the store where the demo would write stops it, by its key, and is left alone."""
        theirs = {f"team/{NAMESPACE}/{key}": b"theirs"}
        bucket.contents |= theirs
        with pytest.raises(PlaygroundError, match=rf"bucket art holds team/studio-7/{key} already"):
            require_free_names(api, NAMESPACE, store)
        assert bucket.contents == theirs

    def test_neighbours_do_not_matter(self, api: ObjectsInMemory, store: Store, bucket: BucketInMemory):
        """Names that only begin like the demo's are somebody else's, and in nobody's way."""
        api.create(build_object("Dataset", "teapots-2"), NAMESPACE)
        bucket.contents[f"team/{NAMESPACE}/pictures/teapots-2/a.png"] = b"theirs"
        require_free_names(api, NAMESPACE, store)


class TestTakingAway:
    def test_all_that_was_brought_goes(self, luggage: Luggage, api: ObjectsInMemory, bucket: BucketInMemory):
        """Objects, uploads, the revision and the run are gone."""
        luggage.take_away()
        assert (api.objects, bucket.contents) == ({}, {})

    @pytest.mark.parametrize(
        "key",
        [
            "pictures/teapots/other.png",
            "datasets/teapots/pushes/p.json",
            "runs/teapot/0000000000000000/run.json",
            "models/tkxw-teapot/teapot-abababab/m.safetensors",
        ],
    )
    def test_what_came_beside_it_stays(self, key: str, luggage: Luggage, bucket: BucketInMemory):
        """A file that the telling did not bring stays, and so does a published model."""
        bucket.contents[f"team/{NAMESPACE}/{key}"] = b"theirs"
        luggage.take_away()
        assert bucket.contents == {f"team/{NAMESPACE}/{key}": b"theirs"}

    def test_namesake_stays(self, luggage: Luggage, api: ObjectsInMemory):
        """An object that another created after the demo's own had gone is not the demo's."""
        api.delete("", "Dataset", "teapots", NAMESPACE)
        api.create(build_object("Dataset", "teapots"), NAMESPACE)
        luggage.take_away()
        assert list(api.objects) == [("Dataset", "teapots")]

    def test_object_that_was_refused_stays(self, api: ObjectsInMemory, store: Store):
        """An object that came between the check and the demo's own is neither taken over nor removed."""
        api.create(build_object("Dataset", "teapots"), NAMESPACE)
        late = Luggage(api, NAMESPACE, store)
        with pytest.raises(ApiError):
            late.create(build_object("Dataset", "teapots"))
        late.take_away()
        assert list(api.objects) == [("Dataset", "teapots")]


def build_story(api: ObjectsInMemory, store: Store, output: Path, console: Console) -> Story:
    """Build a story whose clock goes on by a minute for each pause."""
    seconds = itertools.count(0, 60)
    moment = [next(seconds)]

    def pause(_: float) -> None:
        moment[0] = next(seconds)

    return Story(console, Stage(api, NAMESPACE), store, output, now_seconds=lambda: moment[0], pause=pause)


def test_silent_operator_ends_the_wait(api: ObjectsInMemory, store: Store, tmp_path: Path):
    """Where nobody ever writes a status the demo gives up at its deadline and says where to look."""
    api.create(build_object("Dataset", "teapots"), NAMESPACE)
    api.create(build_object("TrainingJob", "teapot"), NAMESPACE)
    story = build_story(api, store, tmp_path, Console(file=io.StringIO()))
    with pytest.raises(WaitedTooLong, match=r"Look at the operator's pod: kubectl get pods -A -l app\.kubernetes\.io"):
        story._watch({State.AWAITING_SELECTION})


class TestProgressBar:
    def test_pipe_gets_a_line_a_tenth(self):
        """Without a terminal each phase and each tenth of the way is one line with loss and time left."""
        lines: list[str] = []
        with ProgressBar(Console(file=io.StringIO()), lines.append) as bar:
            for step in range(101):
                bar.show(ProgressStatus(phase="Training", step=step, total_steps=100, percent=step, loss="0.05"))
            bar.show(ProgressStatus(phase="Checkpointing", step=100, total_steps=100, percent=100, remaining_seconds=3))
        assert len(lines) == 12
        assert lines[5] == f"Training      {'#' * 20}{'-' * 20} 50/100 steps  loss 0.05"
        assert lines[-1] == f"Checkpointing {'#' * 40} 100/100 steps  3 s left"

    def test_terminal_gets_a_bar(self):
        """On a terminal nothing is said line by line: the bar itself holds loss and time left."""
        lines: list[str] = []
        screen = io.StringIO()
        with ProgressBar(Console(file=screen, force_terminal=True, width=120), lines.append) as bar:
            bar.show(
                ProgressStatus(phase="Training", step=7, total_steps=9, percent=77, loss="0.05", remaining_seconds=4)
            )
        assert lines == []
        assert "4 s left" in screen.getvalue()
