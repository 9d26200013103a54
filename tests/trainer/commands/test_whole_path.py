"""Inspect, preflight, train, publish and collect, one after the other, on a bucket and on a volume."""

from __future__ import annotations

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import CollectInput, PublishInput, SelectedCheckpoint
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import CompactRow
from trainer_pod import IDENTITY, UPLOAD, Tenant

pytestmark = pytest.mark.usefixtures("fake_learn")


def select(row: CompactRow) -> SelectedCheckpoint:
    """Return the selection of a row of last words."""
    return SelectedCheckpoint(step=row[0], sha256=row[2])


def test_main_path(tenant: Tenant, dataset_revision: str) -> None:
    """What is selected is published, the rest is deleted, and nothing else changes."""
    asked = tenant.training_input(dataset_revision, UPLOAD)
    ready = tenant.pod().run(Role.PREFLIGHT, asked)
    assert ready.exit_code == ExitCode.DONE, ready.report.message

    trained = tenant.pod().run(Role.TRAIN, asked)
    assert (trained.report.reason, trained.report.message) == (Reason.TRAINING_COMPLETE, "")
    assert [row[0] for row in trained.report.rows] == [0, 2, 4]
    step0, step2, step4 = trained.report.rows

    before_publish = tenant.listing()
    published = tenant.pod().run(
        Role.PUBLISH,
        PublishInput(
            store=tenant.asked,
            job="teapot",
            run_identity=IDENTITY,
            model_name="TKXW teapot",
            slug="tkxw-teapot",
            selection=[select(step2)],
        ),
    )
    assert published.exit_code == ExitCode.DONE, published.report.message
    before = tenant.listing()
    stem = f"models/tkxw-teapot/teapot-{IDENTITY[:8]}/tkxw-teapot-step-000002-{step2[2][:8]}"
    assert sorted(before.keys() - before_publish.keys()) == [
        tenant.layout.key(*f"{stem}{suffix}".split("/")) for suffix in (".json", ".png", ".safetensors")
    ]

    collected = tenant.pod().run(
        Role.COLLECT,
        CollectInput(
            store=tenant.asked,
            job="teapot",
            run_identity=IDENTITY,
            kept=[select(step2)],
            deleted=[select(step0), select(step4)],
        ),
    )
    assert collected.exit_code == ExitCode.DONE, collected.report.message
    after = tenant.listing()
    gone = {key: size for key, size in before.items() if key not in after}
    assert all("/checkpoints/step-000000/" in key or "/checkpoints/step-000004/" in key for key in gone)
    assert len(gone) == 5  # two manifests, two samples, one file of weights
    assert collected.report.collect is not None
    assert collected.report.collect.reclaimed_bytes == sum(gone.values())
    run = tenant.layout.run("teapot", IDENTITY)
    assert after.keys() - before.keys() == {run.final}
    assert {key: size for key, size in after.items() if key in before} == {k: before[k] for k in before if k in after}
