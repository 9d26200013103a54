"""No manifest, however hostile, makes a deletion touch what is not doomed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_contract.layout import NamespaceLayout
from atelier_contract.manifests import (
    CheckpointManifest,
    SampleFile,
)
from atelier_materials.store.checkpoints import Stored
from atelier_trainer.commands.collect import is_doomed, plan_deletion
from trainer_pod import IDENTITY

NAMES = st.text(st.sampled_from("ab0./_-"), min_size=1, max_size=12)
STEPS = st.integers(0, 6)
RUN = NamespaceLayout("art", "atelier").run("teapot", IDENTITY)


def store_checkpoint(attempt: str, step: int, listed: list[str]) -> Stored[CheckpointManifest]:
    """Return a checkpoint whose manifest lists hostile names."""
    entries = [SampleFile(name=name, bytes=1, sha256="0" * 64, prompt=0) for name in listed]
    manifest = CheckpointManifest(
        step=step,
        run_identity=IDENTITY,
        type="ConceptModel",
        architecture="StableDiffusion1",
        files=[],
        samples=entries,
    )
    folder = RUN.checkpoint(attempt, step)
    return Stored(folder, f"{folder}/checkpoint.json", 1, manifest)


@given(
    checkpoints=st.lists(st.tuples(st.sampled_from(["one", "two"]), STEPS, st.lists(NAMES, max_size=4))),
    doomed=st.sets(STEPS),
)
def test_deletion_stays_inside_doomed_checkpoints(
    checkpoints: list[tuple[str, int, list[str]]], doomed: set[int]
) -> None:
    """Whatever manifests list, only keys inside doomed checkpoints of this run are ever planned."""
    plan = plan_deletion(RUN, [store_checkpoint(*checkpoint) for checkpoint in checkpoints], doomed)
    allowed = tuple(RUN.checkpoint(attempt, step) + "/" for attempt in ("one", "two") for step in doomed)
    for entry in plan.objects:
        assert entry.key.startswith(allowed or ("nothing",))
        assert ".." not in entry.key.split("/")


@pytest.mark.parametrize(
    "key",
    [
        RUN.manifest,
        RUN.checkpoint("one", 4, "checkpoint.json"),
        RUN.state("one", 2, "state.json"),
        RUN.model("tkxw", 2, "0" * 64, ".safetensors"),
        RUN.key("attempts", "one", "checkpoints", "step-000002"),
        f"{RUN.attempts()}/one/checkpoints/step-000002/../step-000004/a",
        NamespaceLayout("art", "atelier").run("teapot", "2e" * 32).checkpoint("one", 2, "a"),
        NamespaceLayout("art2", "atelier").run("teapot", IDENTITY).checkpoint("one", 2, "a"),
        NamespaceLayout("art", "atelier").blob("teapots", "0" * 64),
        "",
    ],
)
def test_is_not_doomed(key: str) -> None:
    """Kept checkpoints, states, models, other runs and namespaces, and what leads out, are never deleted for step 2."""
    assert not is_doomed(RUN, key, {2})
