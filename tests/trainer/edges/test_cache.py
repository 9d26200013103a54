"""The cache of a dataset: one behaviour for both stores, and for the plain one that a test or a laptop uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atelier_contract.base import canonical_json
from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import CacheIndex
from atelier_materials.store.bucket import BucketDescription
from atelier_materials.store.patience import Patience
from atelier_materials.store.s3_store import S3Store
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.edges.cache import StoreCache
from atelier_trainer.edges.home import Home
from atelier_trainer.learn.encodings import MemoryCache
from atelier_trainer.records import Cache

OURS, THEIRS = "1" * 64, "2" * 64
Open = Callable[..., StoreCache]


def open_home(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Home:
    """Return a namespace with an empty store of a kind."""
    if kind == "volume":
        return Home(VolumeStore(tmp_path / "volume"), NamespaceLayout("art"))
    description: BucketDescription = request.getfixturevalue("bucket")
    return Home(S3Store(description, Patience(seconds=0)), NamespaceLayout("art", description.prefix))


@pytest.fixture(params=["bucket", "volume"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """A namespace with an empty store of either kind."""
    return open_home(request, request.param, tmp_path)


@pytest.fixture
def open_cache(home: Home, tmp_path: Path) -> Open:
    """Open the cache as another pod of a run does: with a folder of its own."""
    pods = iter(range(100))

    def build(run: str = OURS, **changes: int | bool) -> StoreCache:
        return StoreCache(home, "teapots", run, tmp_path / f"pod-{next(pods)}", **changes)

    return build


def list_stored(home: Home, suffix: str) -> list[str]:
    """Return the keys of the cache of latents that end so."""
    return [e.key for e in home.store.list(home.layout.cache("teapots", "latents")) if e.key.endswith(suffix)]


def read(cache: Cache, *keys: str) -> list[bytes | None]:
    """Fetch and read entries of latents."""
    cache.fetch("latents", keys)
    found = [cache.read("latents", key) for key in keys]
    return [None if view is None else bytes(view) for view in found]


def fill(cache: StoreCache, **entries: bytes) -> None:
    """Write entries of latents and leave the pod."""
    with cache:
        for key, data in entries.items():
            cache.write("latents", key, data)


@pytest.fixture(params=["bucket", "volume", "memory"])
def any_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """An empty cache: in either kind of store, or without one."""
    if request.param == "memory":
        return MemoryCache()
    return StoreCache(open_home(request, request.param, tmp_path), "teapots", OURS, tmp_path / "pod")


class TestCache:
    """What every cache does."""

    def test_reads_at_once_what_was_written(self, any_cache: Cache) -> None:
        """An entry is at hand as soon as it is written, without a flush."""
        any_cache.write("latents", "a", b"hello")
        assert read(any_cache, "a") == [b"hello"]

    def test_unknown_key(self, any_cache: Cache) -> None:
        """What nobody wrote is not there."""
        assert read(any_cache, "a") == [None]

    def test_rooms_are_apart(self, any_cache: Cache) -> None:
        """A key of one room is not a key of another."""
        any_cache.write("texts", "a", b"hello")
        assert read(any_cache, "a") == [None]

    def test_first_writing_stands(self, any_cache: Cache) -> None:
        """A key that is at hand stays as it is."""
        any_cache.write("latents", "a", b"first")
        any_cache.write("latents", "a", b"second")
        assert read(any_cache, "a") == [b"first"]

    def test_space_ends(self, any_cache: Cache) -> None:
        """A cache has space for a little and not for more than any disk."""
        assert any_cache.has_space(1000)
        assert not any_cache.has_space(1 << 60)


class TestStoreCache:
    """What the cache in a store adds."""

    def test_another_pod_reads_it(self, open_cache: Open) -> None:
        """What one pod wrote, the next one reads, byte for byte, several segments too."""
        entries = {f"k{number}": bytes([number]) * (30 + number) for number in range(9)}
        fill(open_cache(segment_bytes=150), **entries)
        assert read(open_cache(), *entries) == list(entries.values())

    def test_large_entry(self, open_cache: Open) -> None:
        """An entry larger than a segment has one of its own."""
        fill(open_cache(segment_bytes=64), a=b"x" * 300, b=b"y")
        assert read(open_cache(), "a", "b") == [b"x" * 300, b"y"]

    def test_killed_pod_leaves_its_finished_segments(self, open_cache: Open) -> None:
        """A pod that never flushed its last segment leaves those that were full."""
        killed = open_cache(segment_bytes=64)
        killed.write("latents", "a", b"x" * 64)
        killed.write("latents", "b", b"y" * 64)  # begins the next segment, so the first is on its way
        killed._pool.shutdown()  # waits for it, without storing what leaving in order would
        assert read(open_cache(), "a", "b") == [b"x" * 64, None]

    def test_segment_without_index_does_not_exist(self, open_cache: Open, home: Home) -> None:
        """A pod killed between a segment and its index leaves nothing that is read."""
        fill(open_cache(), a=b"hello")
        home.store.delete(list_stored(home, ".json"))
        assert read(open_cache(), "a") == [None]

    def test_damaged_segment_is_not_read(self, open_cache: Open, home: Home, caplog: pytest.LogCaptureFixture) -> None:
        """Bytes that are not the segment's own are known by their sha256 and count as not there."""
        fill(open_cache(), a=b"hello")
        damage(home, b"hellO")
        with caplog.at_level(logging.WARNING):
            assert read(open_cache(), "a") == [None]
        assert "damaged" in caplog.text

    def test_damaged_segment_is_made_again(self, open_cache: Open, home: Home) -> None:
        """After a damaged segment the same entries are kept again, under the same key."""
        fill(open_cache(), a=b"hello")
        damage(home, b"hellO")
        again = open_cache()
        read(again, "a")
        fill(again, a=b"hello")
        assert read(open_cache(), "a") == [b"hello"]

    def test_cut_segment_is_not_read(self, open_cache: Open, home: Home) -> None:
        """A segment that lacks its end counts as not there."""
        fill(open_cache(), a=b"hello")
        damage(home, b"hel")
        assert read(open_cache(), "a") == [None]

    def test_other_segment_stands_in(self, open_cache: Open, home: Home) -> None:
        """Where one of two segments with an entry is damaged, the other one's is read."""
        fill(open_cache(THEIRS), a=b"theirs", b=b"b")
        fill(open_cache(OURS, segment_bytes=64), a=b"ours")
        (ours,) = (key for key in list_stored(home, ".bin") if home.store.read(key).startswith(b"ours"))
        damage(home, b"OURS", only=ours)
        assert read(open_cache(OURS), "a") == [b"theirs"]

    def test_own_entries_come_first(self, open_cache: Open) -> None:
        """A run reads what its own earlier attempt wrote, even where another run's is older."""
        fill(open_cache(THEIRS), a=b"theirs")
        fill(open_cache(OURS), a=b"ours")
        assert read(open_cache(OURS), "a") == [b"ours"]

    @pytest.mark.parametrize("home", ["volume"], indirect=True)
    def test_first_writer_wins(self, open_cache: Open, home: Home, tmp_path: Path) -> None:
        """Of two other runs' entries the older is read, whichever key sorts first."""
        for number, data in enumerate([b"first", b"second", b"third"]):
            fill(open_cache(str(number) * 64), a=data)
            (new,) = [key for key in list_stored(home, ".json") if (tmp_path / "volume" / key).stat().st_mtime > 1e9]
            os.utime(tmp_path / "volume" / new, (number + 1, number + 1))
        assert read(open_cache("f" * 64), "a") == [b"first"]

    def test_same_bytes_twice(self, open_cache: Open, home: Home) -> None:
        """Two runs that make the same segment leave one, and both end well."""
        theirs, ours = open_cache(THEIRS), open_cache(OURS)
        fill(theirs, a=b"same")
        fill(ours, a=b"same")
        assert len(list_stored(home, ".bin")) == len(list_stored(home, ".json")) == 1

    def test_reader_stores_nothing(self, open_cache: Open, home: Home) -> None:
        """A process that is not the writer has its entries at hand and leaves the store alone."""
        reader = open_cache(is_writer=False)
        fill(reader, a=b"hello")
        assert (read(reader, "a"), list_stored(home, "")) == ([b"hello"], [])

    def test_only_needed_segments_are_fetched(self, open_cache: Open, tmp_path: Path) -> None:
        """A segment with none of the keys asked for costs neither disk nor traffic."""
        fill(open_cache(segment_bytes=64), a=b"x" * 64, b=b"y" * 64)
        read(open_cache(), "b")
        fetched = max(tmp_path.glob("pod-*/*")).parent
        assert [path.read_bytes()[:64] for path in fetched.iterdir()] == [b"y" * 64]

    def test_newer_index_is_passed_over(self, open_cache: Open, home: Home) -> None:
        """An index that this release cannot read costs encoding again, not the run."""
        key = home.layout.cache_segment("teapots", "latents", "a" * 64, ".json")
        home.store.write(key, canonical_json({"schemaVersion": 99}))
        assert read(open_cache(), "a") == [None]

    def test_space_is_half_of_what_the_pod_has(self, open_cache: Open) -> None:
        """With 1,000 bytes of ephemeral storage there is space for 500, and less once some are taken."""
        cache = open_cache(capacity_bytes=1000)
        assert (cache.has_space(500), cache.has_space(501)) == (True, False)
        cache.write("latents", "a", b"x" * 100)
        assert (cache.has_space(400), cache.has_space(401)) == (True, False)

    def test_index_says_where_entries_lie(self, open_cache: Open, home: Home) -> None:
        """The index names its run, the segment's size with the digest of its keys, and each entry's place."""
        fill(open_cache(), a=b"hello", b=b"you")
        (key,) = list_stored(home, ".json")
        assert CacheIndex.from_bytes(home.store.read(key)) == CacheIndex(
            run_identity=OURS, bytes=128 + 32, entries={"a": (0, 5), "b": (64, 3)}
        )


def damage(home: Home, data: bytes, only: str = "") -> None:
    """Replace the beginning of stored segments, as a failing disk would; a shorter one cuts it off."""
    for key in list_stored(home, ".bin"):
        if only in key or not only:
            whole = home.store.read(key)
            broken = data + whole[len(data) :] if len(data) >= 4 else data
            home.store.delete([key])
            home.store.write(key, broken)


def test_equal_contents_under_other_keys_are_kept_too(open_cache: Open) -> None:
    """One encoder in two base models gives the same bytes under different keys: both are found later."""
    fill(open_cache(), folder=b"same")
    fill(open_cache(THEIRS), single=b"same")
    assert read(open_cache(), "folder", "single") == [b"same", b"same"]
