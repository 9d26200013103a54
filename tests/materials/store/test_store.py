"""One behaviour for every store: buckets of three makers' servers and a volume pass the same tests."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from atelier_materials.errors import DatasetUnusable, ObjectConflict, ObjectMissing
from atelier_materials.store import s3_store
from atelier_materials.store.patience import Patience
from atelier_materials.store.protocol import Store, hash_bytes
from atelier_materials.store.s3_store import S3Store
from atelier_materials.store.volume_store import VolumeStore
from pushed_folders import lock_folder, write_files
from s3_servers import SERVERS, RunningServer


@pytest.fixture(params=[*SERVERS, "volume"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind: a bucket of each maker's server, and a volume."""
    if request.param == "volume":
        return VolumeStore(tmp_path / "volume")
    server: RunningServer = request.getfixturevalue(request.param)
    return S3Store(server.make_bucket(), Patience(seconds=0))


NAMES_OF_USERS = (
    "Kaffee & Küche #1 (50%).png",
    "a+b=c?d.png",
    "quotes ' and \" in <it>.png",
    "%2Fnot%20decoded%00.png",
    "猫 の 写真.png",
    "emoji 🫖.png",
    "u\u0308 decomposed.png",
    "semi;colon,comma@at:colon!~*.png",
    " blank before.png",
)


class TestStore:
    """What every store does."""

    def test_reads_back_what_was_written(self, store: Store) -> None:
        """Bytes come back as they went in."""
        store.write("a/b/c.json", b"hello")
        assert store.read("a/b/c.json") == b"hello"

    def test_tells_what_was_written(self, store: Store) -> None:
        """Writing answers with the sha256 and size of the bytes."""
        assert store.write("a", b"hello") == hash_bytes(b"hello")

    def test_reads_a_part(self, store: Store) -> None:
        """A range gives its bytes and no others."""
        store.write("a", b"0123456789")
        assert store.read("a", 3, 4) == b"3456"

    def test_empty_object(self, store: Store) -> None:
        """An object may be empty."""
        store.write("a", b"")
        assert store.read("a") == b""

    def test_missing_read(self, store: Store) -> None:
        """Reading what is not there says so."""
        with pytest.raises(ObjectMissing, match="nothing/here"):
            store.read("nothing/here")

    def test_missing_digest(self, store: Store) -> None:
        """Hashing what is not there says so."""
        with pytest.raises(ObjectMissing):
            store.digest("nothing")

    def test_missing_head(self, store: Store) -> None:
        """Asking for what is not there answers None."""
        assert store.head("nothing") is None

    def test_head_tells_size(self, store: Store) -> None:
        """Asking for an object tells its size."""
        store.write("a/b", b"hello")
        found = store.head("a/b")
        assert found is not None
        assert found.bytes == 5

    def test_a_folder_is_no_object(self, store: Store) -> None:
        """The folder above an object is not an object."""
        store.write("a/b", b"hello")
        assert store.head("a") is None

    def test_lists_below_a_prefix_only(self, store: Store) -> None:
        """A prefix is a folder: siblings that begin alike are not listed."""
        for key in ("runs/teapot/x", "runs/teapot-2/x", "runs/teapot/y/z"):
            store.write(key, b"1")
        assert [entry.key for entry in store.list("runs/teapot")] == ["runs/teapot/x", "runs/teapot/y/z"]

    def test_lists_everything(self, store: Store) -> None:
        """An empty prefix lists the whole store, sorted by key."""
        for key in ("b/2", "a.txt", "a/1"):
            store.write(key, b"1")
        assert [entry.key for entry in store.list("")] == ["a.txt", "a/1", "b/2"]

    def test_lists_nothing(self, store: Store) -> None:
        """A prefix without objects lists nothing and is no error."""
        assert list(store.list("nothing")) == []

    def test_same_again_is_done(self, store: Store) -> None:
        """Writing the same bytes again succeeds."""
        store.write("a", b"hello")
        assert store.write("a", b"hello") == hash_bytes(b"hello")

    def test_another_content_is_refused(self, store: Store) -> None:
        """A key is written once: other bytes of the same length are refused."""
        store.write("a", b"hello")
        with pytest.raises(ObjectConflict, match="a in"):
            store.write("a", b"jello")

    def test_refused_write_changes_nothing(self, store: Store) -> None:
        """After a refusal the first content is still there."""
        store.write("a", b"hello")
        with pytest.raises(ObjectConflict):
            store.write("a", b"something longer")
        assert store.read("a") == b"hello"

    def test_file_goes_and_comes_back(self, store: Store, tmp_path: Path) -> None:
        """A file of several chunks comes back as it went, and both ways tell its digest."""
        data = bytes(range(256)) * 12_000
        (tmp_path / "in").write_bytes(data)
        written = store.write_file("weights.safetensors", tmp_path / "in")
        fetched = store.fetch("weights.safetensors", tmp_path / "out")
        assert (written, fetched, (tmp_path / "out").read_bytes()) == (hash_bytes(data), hash_bytes(data), data)

    def test_copies(self, store: Store) -> None:
        """A copy holds the same, and the original stays."""
        store.write("a/b", b"hello")
        store.copy("a/b", "c/d")
        assert (store.read("a/b"), store.read("c/d")) == (b"hello", b"hello")

    def test_copy_over_another_is_refused(self, store: Store) -> None:
        """A copy does not overwrite."""
        store.write("a", b"hello")
        store.write("b", b"other")
        with pytest.raises(ObjectConflict):
            store.copy("a", "b")

    def test_copy_of_nothing(self, store: Store) -> None:
        """Copying what is not there says so."""
        with pytest.raises(ObjectMissing):
            store.copy("nothing", "target")

    def test_deletes_exactly(self, store: Store) -> None:
        """Only the named keys go; one that is gone already is fine."""
        for key in ("a/1", "a/2", "a/10"):
            store.write(key, b"1")
        store.delete(["a/1", "a/1", "nothing"])
        assert [entry.key for entry in store.list("")] == ["a/10", "a/2"]

    @pytest.mark.parametrize("name", NAMES_OF_USERS)
    def test_names_of_users(self, store: Store, name: str) -> None:
        """Blanks, accents and signs in the names of a user's own files are kept."""
        key = f"my photos/{name}"
        store.write(key, b"1")
        assert ([entry.key for entry in store.list("my photos")], store.read(key)) == ([key], b"1")

    def test_part_behind_the_end(self, store: Store) -> None:
        """A part that begins behind the end is empty, and so is every part of an empty object."""
        store.write("a", b"hello")
        store.write("empty", b"")
        assert (store.read("a", 5, 3), store.read("empty", 0, 8)) == (b"", b"")

    def test_part_over_the_end(self, store: Store) -> None:
        """A part that reaches over the end stops there."""
        store.write("a", b"hello")
        assert (store.read("a", 3, 100), store.read("a", 3)) == (b"lo", b"lo")

    def test_lists_page_after_page(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A listing of several pages is whole, sorted and without repetition, through folders."""
        monkeypatch.setattr(s3_store, "PAGE_OBJECTS", 2)
        keys = ["a-b/1", "a.txt", "a/1", "a/2", "a/3", "b/1/1", "b/2"]
        for key in reversed(keys):
            store.write(f"top/{key}", b"1")
        assert [entry.key for entry in store.list("top")] == [f"top/{key}" for key in keys]

    def test_tells_when_it_was_written(self, store: Store) -> None:
        """Listing and asking agree on size and, to the second, on the time; it is about now."""
        before = time.time()
        store.write("a/b", b"hello")
        listed, asked = next(iter(store.list("a"))), store.head("a/b")
        assert asked is not None
        assert (listed.bytes, int(listed.modified_seconds)) == (asked.bytes, int(asked.modified_seconds))
        assert before - 2 <= listed.modified_seconds <= time.time() + 2

    def test_copy_of_users_names(self, store: Store) -> None:
        """A copy reads a key with signs in it as it is written."""
        store.write("my photos/50% & more+1.png", b"1")
        store.copy("my photos/50% & more+1.png", "copy")
        assert store.read("copy") == b"1"

    def test_deletes_names_of_users(self, store: Store) -> None:
        """A key with signs in it is deleted, and its neighbour is not."""
        for key in ("my photos/a+b.png", "my photos/a b.png"):
            store.write(key, b"1")
        store.delete(["my photos/a+b.png"])
        assert [entry.key for entry in store.list("")] == ["my photos/a b.png"]


def test_unfinished_files_are_invisible(tmp_path: Path) -> None:
    """A file that a dead pod was writing into a volume is not listed."""
    store = VolumeStore(tmp_path)
    store.write("a/b", b"1")
    (tmp_path / "a" / ".atelier-unfinished-0123").write_bytes(b"half")
    assert [entry.key for entry in store.list("")] == ["a/b"]


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd"])
def test_volume_refuses_to_leave(tmp_path: Path, key: str) -> None:
    """A key that leads out of a volume's folder is not followed."""
    (tmp_path / "secret").write_text("s")
    with pytest.raises(ObjectMissing, match="leads out"):
        VolumeStore(tmp_path / "volume").read(key)


def test_links_of_ones_own_folder_are_followed_and_keys_stay_inside(tmp_path: Path) -> None:
    """Where links are followed, a key still leads to nothing but what lies below the folder."""
    (tmp_path / "secret").write_text("s")
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "a.png").symlink_to(tmp_path / "secret")
    store = VolumeStore(volume, follows_links=True)
    assert store.read("a.png") == b"s"
    for key in ("../secret", "/etc/passwd"):
        with pytest.raises(ObjectMissing, match="leads out"):
            store.read(key)


def test_volume_passes_over_what_is_not_the_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk's lost+found, which is root's alone, hinders nobody from listing what lies beside it."""
    volume = write_files(tmp_path / "volume", {"a.png": b"a", "lost+found/b.png": b"b"})
    lock_folder(monkeypatch, volume / "lost+found")
    assert [entry.key for entry in VolumeStore(volume).list("")] == ["a.png"]


@pytest.mark.parametrize(("name", "is_told"), [(".Trashes", False), ("$RECYCLE.BIN", False), ("sub", True)])
def test_own_disk_passes_over_what_is_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_told: bool
) -> None:
    """Of a person's own disk, folders that a system keeps for itself are passed over, and others are told of."""
    disk = write_files(tmp_path / "disk", {"a.png": b"a", f"{name}/b.png": b"b"})
    lock_folder(monkeypatch, disk / name)
    store = VolumeStore(disk, follows_links=True)
    with pytest.raises(DatasetUnusable) if is_told else nullcontext():
        assert [entry.key for entry in store.list("")] == ["a.png"]


def test_volume_refuses_links_that_leave(tmp_path: Path) -> None:
    """A link in a user's volume that points outside, or nowhere, is neither listed nor read."""
    (tmp_path / "secret").write_text("s")
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "a.png").symlink_to(tmp_path / "secret")
    (volume / "b.png").symlink_to(volume / "b.png")
    assert list(VolumeStore(volume).list("")) == []
