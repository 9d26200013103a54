"""A concept model and the embedding trained with it: published as two files under one stem, and deleted as one."""

from __future__ import annotations

import hashlib
import json
import types
from pathlib import Path
from typing import Any

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import StartFromInput
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import FinalManifest
from atelier_contract.roles import Role
from atelier_materials.store.documents import read_document
from atelier_trainer.records import Workspace
from fake_learning import FakeOutcome, learn
from finalizing_pod import choose, collect, finish, publish, published_keys
from learning import PIVOTAL, build_settings
from trainer_pod import UPLOAD, Tenant, put_teapots


@pytest.fixture
def pivotal_run(volume_tenant: Tenant, tmp_path: Path) -> RunLayout:
    """A finished run whose checkpoints have two files each."""
    return finish(volume_tenant, tmp_path, conceptModel={"embedding": PIVOTAL})


def test_the_embedding_is_published_beside_its_model(volume_tenant: Tenant, pivotal_run: RunLayout) -> None:
    """Both files stand under one stem, each with sidecar and preview; the first alone is reported."""
    ending = publish(volume_tenant, choose(volume_tenant, pivotal_run, 4))
    names = [key.rpartition("/")[2] for key in published_keys(volume_tenant)]
    stem = next(name for name in names if name.endswith(".safetensors") and "embedding" not in name)[:-12]
    suffixes = [".safetensors", ".json", ".png"]
    assert set(names) == {f"{stem}{role}{suffix}" for role in ("", "-embedding") for suffix in suffixes}
    assert ending.report.publish is not None
    assert [(row.step, row.bytes) for row in ending.report.publish.models] == [(4, len(b"weights of step 4"))]


def test_sidecars_name_each_other(volume_tenant: Tenant, pivotal_run: RunLayout) -> None:
    """The model's sidecar calls and names its embedding; the embedding's calls itself by its file, as A1111 does."""
    publish(volume_tenant, choose(volume_tenant, pivotal_run, 4))
    sidecars = {
        key.rpartition("/")[2].removesuffix(".json"): json.loads(volume_tenant.store.read(key))
        for key in published_keys(volume_tenant)
        if key.endswith(".json")
    }
    (embedding,) = (name for name in sidecars if name.endswith("-embedding"))
    model = sidecars[embedding.removesuffix("-embedding")]
    assert model["activation text"] == f"{embedding}, TKXW"
    assert f"Needs {embedding} beside it" in model["notes"]
    assert sidecars[embedding]["activation text"] == embedding
    assert "preferred weight" not in sidecars[embedding]


def test_a_model_without_a_prefix_is_called_by_its_embedding(volume_tenant: Tenant, tmp_path: Path) -> None:
    """Where no captionPrefix was given the embedding's file is the whole activation text, and not nothing."""
    run = finish(volume_tenant, tmp_path, conceptModel={"embedding": PIVOTAL, "captionPrefix": ""})
    publish(volume_tenant, choose(volume_tenant, run, 4))
    keys = [key for key in published_keys(volume_tenant) if key.endswith(".json")]
    model = next(key for key in keys if not key.endswith("-embedding.json"))
    stem = model.rpartition("/")[2].removesuffix(".json")
    assert json.loads(volume_tenant.store.read(model))["activation text"] == f"{stem}-embedding"


def test_a_missing_embedding_stops_the_deletion(volume_tenant: Tenant, pivotal_run: RunLayout) -> None:
    """While the published embedding is gone, nothing is deleted, though its model is there."""
    kept, deleted = choose(volume_tenant, pivotal_run, 4), choose(volume_tenant, pivotal_run, 0, 2, 6)
    publish(volume_tenant, kept)
    keys = [key for key in published_keys(volume_tenant) if key.endswith("-embedding.safetensors")]
    volume_tenant.store.delete(keys)
    before = volume_tenant.listing()
    assert collect(volume_tenant, kept, deleted).exit_code == ExitCode.BUG
    assert volume_tenant.listing() == before


def test_deleting_takes_both_files(volume_tenant: Tenant, pivotal_run: RunLayout) -> None:
    """Of deleted checkpoints no file stays; final.json names one model a checkpoint."""
    kept, deleted = choose(volume_tenant, pivotal_run, 4), choose(volume_tenant, pivotal_run, 0, 2, 6)
    publish(volume_tenant, kept)
    published = published_keys(volume_tenant)
    assert collect(volume_tenant, kept, deleted).exit_code == ExitCode.DONE
    left = [key for key in volume_tenant.listing() if key.endswith("embedding.safetensors")]
    assert len([key for key in left if "/runs/" in key]) == 1
    assert published_keys(volume_tenant) == published
    final = read_document(volume_tenant.store, pivotal_run.final, FinalManifest)
    assert [model.step for model in final.published] == [4]


@pytest.mark.usefixtures("fake_learn")
def test_a_run_starts_from_both_files(
    volume_tenant: Tenant, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a checkpoint with two files both are fetched, the concept model first, and its digest is the run's."""
    revision = put_teapots(volume_tenant)
    settings = build_settings(steps=4, everySteps=4, conceptModel={"embedding": PIVOTAL})
    asked = volume_tenant.training_input(revision, UPLOAD, settings=settings)
    volume_tenant.pod().run(Role.TRAIN, asked.model_copy(update={"job": "older"}))
    seen: list[Workspace] = []

    def note(workspace: Workspace, *partners: Any) -> FakeOutcome:
        seen.append(workspace)
        return learn(workspace, *partners)

    monkeypatch.setattr(fake_learn, "train", note)
    start = StartFromInput(job="older", checkpoint="step-000004")
    ending = volume_tenant.pod().run(Role.TRAIN, asked.model_copy(update={"start_from": start}))
    assert ending.exit_code == ExitCode.DONE, ending.report.message
    (workspace,) = seen
    assert [path.read_bytes() for path in workspace.start_from] == [b"weights of step 4", b"rows of step 4"]
    assert workspace.start_from_sha256 == hashlib.sha256(b"weights of step 4").hexdigest()
