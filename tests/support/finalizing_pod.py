"""Finished runs in a store, published and collected: what tests of both subcommands begin with."""

from __future__ import annotations

from pathlib import Path

from atelier_contract.inputs import CollectInput, PublishInput, SelectedCheckpoint
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import OutcomeManifest, OwnerManifest
from atelier_contract.roles import Role
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints
from atelier_trainer.commands.ending import Ending
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.recorder import StoreRecorder
from atelier_trainer.records import Workspace
from fake_learning import build_checkpoint, build_run
from learning import build_settings
from trainer_pod import CLUSTER_UID, IDENTITY, NAMESPACE_UID, UPLOAD, Tenant


def finish(tenant: Tenant, tmp_path: Path, **changes: object) -> RunLayout:
    """Record a run to its end; return its keys."""
    asked = tenant.training_input("0" * 64, UPLOAD, settings=build_settings(steps=6, everySteps=2, **changes))
    workspace = Workspace(asked, "first", (), tmp_path, "b" * 64, tmp_path / "work")
    layout = tenant.layout.run("teapot", IDENTITY)
    owner = OwnerManifest(cluster_uid=CLUSTER_UID, namespace_uid=NAMESPACE_UID)
    tenant.store.write(tenant.layout.owner, owner.to_bytes())
    with StoreRecorder(Home(tenant.store, tenant.layout), layout, "first") as recorder:
        recorder.record_run(build_run(workspace))
        for step in (0, 2, 4, 6):
            recorder.record_checkpoint(*build_checkpoint(workspace, step))
        recorder.record_outcome(OutcomeManifest(stopped_early=False, last_step=6))
    return layout


def choose(tenant: Tenant, run: RunLayout, *steps: int) -> list[SelectedCheckpoint]:
    """Return the selection of these steps as status would tell it."""
    whole = first_of_each_step(list_checkpoints(tenant.store, run))
    digests = {step: stored.manifest.files[0].sha256 if step else "" for step, stored in whole.items()}
    return [SelectedCheckpoint(step=step, sha256=digests[step][:16]) for step in steps]


def build_publish_input(tenant: Tenant, selection: list[SelectedCheckpoint], **changes: object) -> PublishInput:
    """Return what a publish Job of the run is told."""
    asked = PublishInput(
        store=tenant.asked,
        job="teapot",
        run_identity=IDENTITY,
        model_name="TKXW teapot",
        slug="tkxw-teapot",
        selection=selection,
    )
    return asked.model_copy(update=changes)


def publish(tenant: Tenant, selection: list[SelectedCheckpoint], **changes: object) -> Ending:
    """Publish a selection."""
    return tenant.pod().run(Role.PUBLISH, build_publish_input(tenant, selection, **changes))


def collect(
    tenant: Tenant, kept: list[SelectedCheckpoint], deleted: list[SelectedCheckpoint], *, whole_run: bool = False
) -> Ending:
    """Collect."""
    asked = CollectInput(
        store=tenant.asked, job="teapot", run_identity=IDENTITY, kept=kept, deleted=deleted, whole_run=whole_run
    )
    return tenant.pod().run(Role.COLLECT, asked)


def published_keys(tenant: Tenant) -> list[str]:
    """Return what lies under models/."""
    return [entry.key for entry in tenant.store.list(tenant.layout.key("models"))]
