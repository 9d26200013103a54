"""What of a folder is pushed, what the push is called, and the document that ends it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atelier_contract.manifests import PushedFile, PushManifest
from atelier_studio.actions.pushing import build_push, check_name, describe_sorting, name_dataset, sort_paths
from atelier_studio.errors import BadRequest

NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def a_file(path: str, sign: str = "a") -> PushedFile:
    return PushedFile(path=path, bytes=1, sha256=sign * 64)


def a_push(at: str, *files: PushedFile, replaces: bool = False) -> PushManifest:
    return PushManifest(pushed_at=at, files=list(files), replaces=replaces)


@pytest.mark.parametrize(
    "path",
    [
        *("a.png", "a.JPG", "a.webp", "a.avif", "a.heic", "a.mask.png", "a.txt", "a.caption", "a.2.txt"),
        *("metadata.jsonl", "train/metadata.csv", "metadata.parquet", "10_tkxw teapot/a.png", "dataset.toml", "atxt"),
    ],
)
def test_goes_along(path: str) -> None:
    """Pictures, masks, captions and tables of every layout are pushed."""
    assert sort_paths([path]).going == (path,)


@pytest.mark.parametrize(
    "path", [".DS_Store", "sub/Thumbs.db", ".git/a.png", "__MACOSX/a.png", "desktop.ini", "._a.png"]
)
def test_hidden_stays(path: str) -> None:
    """What systems leave in folders, and what is hidden, stays behind."""
    assert sort_paths([path]).hidden == (path,)


@pytest.mark.parametrize("path", ["notes.docx", "a.psb", "weights.safetensors", "README"])
def test_unknown_stays(path: str) -> None:
    """Files that no dataset has a use for stay behind."""
    assert sort_paths([path]).unknown == (path,)


@pytest.mark.parametrize("path", ["a\nb.png", "\u202egnp.png", "x" * 300 + ".png"])
def test_misnamed_stays(path: str) -> None:
    """Names with line breaks, with marks that turn the writing round, or too long for any disk stay behind."""
    assert sort_paths([path]).misnamed == (path,)


def test_what_stays_is_said() -> None:
    """Each group that stays behind is counted, with examples that are safe to print."""
    lines = describe_sorting(sort_paths(["a.png", ".DS_Store", "b.doc", "c.doc", "d.doc", "e.doc", "f\n.png"]))
    assert lines == [
        "not sent: 1 hidden or left by the operating system (.DS_Store)",
        "not sent: 4 of no use to a dataset (b.doc, c.doc, d.doc, …)",
        "not sent: 1 named in a way that cannot be kept (rename them) (f\\x0a.png)",
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("teapots", "teapots"), ("My Teapots (2026)", "my-teapots-2026"), ("x" * 80, "x" * 50), ("Ä_b", "b")],
)
def test_names_follow_from_folders(folder: str, name: str) -> None:
    """A folder's name becomes one that Kubernetes takes."""
    assert name_dataset(folder) == name


def test_folder_without_letters() -> None:
    """Where no name follows from a folder, one is asked for."""
    with pytest.raises(BadRequest, match="give one with --name"):
        name_dataset("猫")


@pytest.mark.parametrize("name", ["Teapots", "a_b", "-a", "x" * 51, "a.b"])
def test_bad_names_are_refused(name: str) -> None:
    """A name that Kubernetes would not take is refused before anything is sent."""
    with pytest.raises(BadRequest, match="cannot name a Dataset"):
        check_name(name)


def test_files_are_sorted() -> None:
    """The document lists files by path, whatever order they were sent in."""
    push = build_push([a_file("b"), a_file("a")], [], NOW, replaces=False)
    assert push is not None
    assert [file.path for file in push.files] == ["a", "b"]


def test_same_again_is_no_push() -> None:
    """Where the dataset holds exactly this already, there is nothing to write."""
    earlier = a_push("2026-11-23T07:00:00Z", a_file("a"), a_file("b"))
    assert build_push([a_file("a")], [earlier], NOW, replaces=False) is None


def test_fewer_files_replace() -> None:
    """With `--replace` a file that is gone makes a push."""
    earlier = a_push("2026-11-23T07:00:00Z", a_file("a"), a_file("b"))
    push = build_push([a_file("a")], [earlier], NOW, replaces=True)
    assert push is not None
    assert push.replaces


def test_same_again_replaces_nothing() -> None:
    """With `--replace` too, exactly the same is no push."""
    earlier = a_push("2026-11-23T07:00:00Z", a_file("a"))
    assert build_push([a_file("a")], [earlier], NOW, replaces=True) is None


def test_changed_file_is_a_push() -> None:
    """Another content under a known path makes a push."""
    earlier = a_push("2026-11-23T07:00:00Z", a_file("a"))
    assert build_push([a_file("a", "b")], [earlier], NOW, replaces=False) is not None


def test_clock_that_is_behind() -> None:
    """A push comes after every earlier one, even where this machine's clock is behind the other's."""
    earlier = [a_push("2026-11-23T09:00:00.5Z", a_file("a")), a_push("2026-11-23T08:30:00Z", a_file("b"))]
    push = build_push([a_file("a", "c")], earlier, NOW, replaces=False)
    assert push is not None
    assert push.pushed_at == "2026-11-23T09:00:00.500001Z"
