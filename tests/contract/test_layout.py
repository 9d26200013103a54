"""Keys of the store: nothing that anybody writes into a name or path leads out of its namespace or run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_contract.errors import KeyRefused
from atelier_contract.layout import MAX_KEY_BYTES, NamespaceLayout, RunLayout, join_key
from contract_examples import OTHER_SHA, SHA

GOOD_PARTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
HOSTILE_PARTS = st.sampled_from(
    ["", ".", "..", "../x", "a/b", "/a", "a/", "-rf", ".git", "a\n", "a\x00", "ä", "a b", "*"]
)
ANY_TEXT = st.one_of(HOSTILE_PARTS, st.text(max_size=300))


def a_run() -> RunLayout:
    return NamespaceLayout("team-a", "atelier").run("teapot", SHA)


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_key_is_made_of_exactly_its_parts_or_refused(parts: list[str]) -> None:
    """A key that is not refused splits into the parts it was made of, and none of them is a way up."""
    try:
        key = join_key(*parts)
    except KeyRefused:
        return
    assert key.split("/") == parts
    assert not {"", ".", ".."} & set(parts)
    assert len(key.encode()) <= MAX_KEY_BYTES


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "/a", "-rf", ".git", "a\n", "a\x00b", "ä", "a b", "*", "x" * 256]
)
def test_hostile_part_is_refused(part: str) -> None:
    """A part that is empty, hidden, too long or holds a slash, space, line end or foreign letter is refused."""
    with pytest.raises(KeyRefused):
        join_key("team-a", part)


@given(st.lists(GOOD_PARTS, min_size=1, max_size=60))
def test_key_is_never_longer_than_a_store_takes(parts: list[str]) -> None:
    """Keys are refused exactly when S3 would refuse their length."""
    fits = len("/".join(parts).encode()) <= MAX_KEY_BYTES
    try:
        join_key(*parts)
    except KeyRefused:
        assert not fits
    else:
        assert fits


@given(ANY_TEXT, ANY_TEXT)
def test_user_paths_stay_in_the_namespace(name: str, path: str) -> None:
    """Whatever a dataset is called and wherever a base model lies: the key begins with the namespace's prefix."""
    layout = NamespaceLayout("team-a", "atelier")
    for build in (
        lambda: layout.dataset(name, "x"),
        lambda: layout.base_model(path),
        lambda: layout.runs(name),
        lambda: layout.cache(name, path),
        lambda: layout.cache_segment(name, path, SHA, ".bin"),
    ):
        try:
            key = build()
        except KeyRefused:
            continue
        assert (key + "/").startswith("atelier/team-a/")
        assert ".." not in key.split("/")


@given(ANY_TEXT, st.integers(0, 10_000_000), ANY_TEXT)
def test_run_keys_stay_below_the_run(attempt: str, step: int, file: str) -> None:
    """Checkpoints and states lie below their run, whatever the attempt and the file are called."""
    run = a_run()
    for build in (run.checkpoint, run.state):
        try:
            key = build(attempt, step, file)
        except KeyRefused:
            continue
        assert run.owns(key)


@given(st.text(max_size=200))
def test_only_keys_below_the_run_are_owned(tail: str) -> None:
    """Nothing outside the run's own prefix is ever deleted for it: not the prefix itself, not a neighbour."""
    run = a_run()
    assert not run.owns(run.key())
    assert not run.owns(run.key() + "0/" + tail)
    assert not run.owns("atelier/team-a/models/" + tail)
    assert not run.owns(run.key() + "/../" + tail)


def test_cache_lies_below_its_dataset() -> None:
    """A dataset's cache goes with the dataset: every key of it lies below the dataset's own."""
    layout = NamespaceLayout("team-a", "atelier")
    key = layout.cache_segment("teapots", "latents", SHA, ".bin")
    assert key.startswith(layout.cache("teapots", "latents") + "/")
    assert key == f"atelier/team-a/datasets/teapots/cache/latents/{SHA}.bin"


@pytest.mark.parametrize("digest", ["", "abc", SHA.upper(), "../" + SHA[3:]])
def test_segment_is_named_by_a_digest(digest: str) -> None:
    """A segment's key is built of a sha256 and nothing else."""
    with pytest.raises(KeyRefused):
        NamespaceLayout("team-a").cache_segment("teapots", "latents", digest, ".bin")


def test_published_models_are_outside_the_run() -> None:
    """A run never owns what it published."""
    run = a_run()
    assert not run.owns(run.model("tkxw", 500, SHA, ".safetensors"))


def test_equal_slugs_of_two_jobs_do_not_meet() -> None:
    """Two jobs with one model name, and two runs of one job, publish under different keys."""
    layout = NamespaceLayout("team-a")
    keys = {
        layout.run(job, identity).model("tkxw", 500, SHA, ".safetensors")
        for job, identity in [("one", SHA), ("two", SHA), ("one", OTHER_SHA)]
    }
    assert len(keys) == 3


def test_empty_slug_gives_way_to_the_job() -> None:
    """A model whose name has no Latin letter is published under the job's name."""
    assert a_run().model("", 500, SHA, ".png").startswith("atelier/team-a/models/teapot/teapot-")


@pytest.mark.parametrize("identity", ["", "abc", SHA.upper(), SHA + "\n", "../" + SHA[3:]])
def test_run_without_identity_has_no_keys(identity: str) -> None:
    """A run identity that is not 64 hex digits is refused before any key is built."""
    with pytest.raises(KeyRefused):
        NamespaceLayout("team-a").run("teapot", identity).key("run.json")
