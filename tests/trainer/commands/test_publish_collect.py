"""Publishing and deleting, to the object: what is there before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import SelectedCheckpoint
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import (
    CollectPlan,
    FinalManifest,
)
from atelier_contract.names import TERMINATION_LIMIT_BYTES
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import PublishedRow, PublishResult, TerminationReport
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints
from atelier_materials.store.documents import read_document
from atelier_materials.store.protocol import Store
from atelier_trainer.edges.home import Home
from finalizing_pod import choose, collect, finish, publish, published_keys
from trainer_pod import Tenant


@pytest.fixture
def run(tenant: Tenant, tmp_path: Path) -> RunLayout:
    """A finished run with checkpoints at steps 0, 2, 4 and 6."""
    return finish(tenant, tmp_path)


class TestPublish:
    """What lies under models/ afterwards."""

    def test_weights_are_the_checkpoint(self, tenant: Tenant, run: RunLayout) -> None:
        """The published file holds the checkpoint's bytes, sidecar and preview beside it."""
        ending = publish(tenant, choose(tenant, run, 4))
        by_suffix = {key.rpartition(".")[2]: tenant.store.read(key) for key in published_keys(tenant)}
        assert by_suffix.keys() == {"safetensors", "json", "png"}
        assert by_suffix["safetensors"] == b"weights of step 4"
        assert by_suffix["png"] == b"sample of 4"
        assert ending.report.publish is not None
        assert [(row.step, row.bytes) for row in ending.report.publish.models] == [(4, len(b"weights of step 4"))]

    def test_sidecar_tells_the_trigger(self, tenant: Tenant, run: RunLayout) -> None:
        """The sidecar has the fields that tools read."""
        publish(tenant, choose(tenant, run, 4))
        key = next(key for key in published_keys(tenant) if key.endswith(".json"))
        sidecar = json.loads(tenant.store.read(key))
        assert (sidecar["activation text"], sidecar["sd version"]) == ("TKXW", "SD1")
        assert sidecar["description"].startswith("TKXW teapot. Concept model (LoRA)")

    def test_same_again_changes_nothing(self, tenant: Tenant, run: RunLayout) -> None:
        """Publishing again succeeds, tells the same, and leaves the store as it was."""
        selection = choose(tenant, run, 2, 4)
        first = publish(tenant, selection)
        before = tenant.listing()
        assert (publish(tenant, selection).report, tenant.listing()) == (first.report, before)

    def test_another_file_there_is_an_error(self, tenant: Tenant, run: RunLayout) -> None:
        """A published name that holds other bytes is refused, and they stay."""
        selection = choose(tenant, run, 4)
        sha256 = list_checkpoints(tenant.store, run)[2].manifest.files[0].sha256
        key = run.model("tkxw-teapot", 4, sha256, ".safetensors")
        tenant.store.write(key, b"someone else's")
        ending = publish(tenant, selection)
        assert ending.exit_code == ExitCode.BUG
        assert "holds something else already" in ending.report.message
        assert tenant.store.read(key) == b"someone else's"

    def test_edited_sidecar_stays(self, tenant: Tenant, run: RunLayout) -> None:
        """A sidecar that a person edited is not written over."""
        selection = choose(tenant, run, 4)
        publish(tenant, selection)
        key = next(key for key in published_keys(tenant) if key.endswith(".json"))
        tenant.store.delete([key])
        tenant.store.write(key, b"{}")
        assert publish(tenant, selection).exit_code == ExitCode.DONE
        assert tenant.store.read(key) == b"{}"

    def test_damaged_checkpoint_is_not_published(self, tenant: Tenant, run: RunLayout) -> None:
        """Weights that are no longer those recorded reach no tool."""
        stored = first_of_each_step(list_checkpoints(tenant.store, run))[4]
        key = stored.key(stored.manifest.files[0].name)
        tenant.store.delete([key])
        tenant.store.write(key, b"weights of step X")
        ending = publish(tenant, choose(tenant, run, 4))
        assert "it was damaged in the store" in ending.report.message
        assert published_keys(tenant) == []

    def test_unknown_digest(self, tenant: Tenant, run: RunLayout) -> None:
        """A step whose digest is another than recorded is not published."""
        ending = publish(tenant, [SelectedCheckpoint(step=4, sha256="0" * 16)])
        assert "step 4 of teapot with digest 00000000 is not in the store" in ending.report.message

    def test_step_0_cannot_be_published(self, tenant: Tenant, run: RunLayout) -> None:
        """Step 0 has no model."""
        ending = publish(tenant, [SelectedCheckpoint(step=0, sha256="")])
        assert ending.exit_code == ExitCode.INVALID_INPUT


def test_forty_models_fit_into_last_words() -> None:
    """Forty published models fit; their digests are told by 16 digits then."""
    rows = [PublishedRow(step=10_000 * i, sha256="f" * 64, bytes=10**9) for i in range(40)]
    report = TerminationReport(role=Role.PUBLISH, reason=Reason.COMPLETED, publish=PublishResult(models=rows))
    message = report.to_message()
    assert len(message.encode()) <= TERMINATION_LIMIT_BYTES
    read = TerminationReport.from_bytes(message.encode())
    assert read.publish is not None
    assert [row.sha256 for row in read.publish.models] == ["f" * 16] * 40


class TestCollect:
    """What is gone afterwards, and what is not."""

    def test_unpublished_selection_stops_everything(self, tenant: Tenant, run: RunLayout) -> None:
        """While a kept checkpoint is not published, nothing at all is deleted."""
        before = tenant.listing()
        ending = collect(tenant, choose(tenant, run, 4), choose(tenant, run, 0, 2, 6))
        assert ending.exit_code == ExitCode.BUG
        assert tenant.listing() == before

    def test_damaged_publication_stops_everything(self, tenant: Tenant, run: RunLayout) -> None:
        """A published file that is no longer what was published keeps every checkpoint."""
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 0, 2, 6)
        publish(tenant, kept)
        key = next(key for key in published_keys(tenant) if key.endswith(".safetensors"))
        tenant.store.delete([key])
        tenant.store.write(key, b"weights of step X")
        before = tenant.listing()
        ending = collect(tenant, kept, deleted)
        assert "nothing was deleted, publish again" in ending.report.message
        assert tenant.listing() == before

    def test_step_kept_and_deleted(self, tenant: Tenant, run: RunLayout) -> None:
        """A list that contradicts itself deletes nothing."""
        before = tenant.listing()
        ending = collect(tenant, choose(tenant, run, 4), choose(tenant, run, 4))
        assert ending.exit_code == ExitCode.INVALID_INPUT
        assert tenant.listing() == before

    def test_every_attempts_copy_goes(self, tenant: Tenant, run: RunLayout) -> None:
        """Copies of a deleted step that other attempts made go too; kept steps keep theirs."""
        home = Home(tenant.store, tenant.layout)
        for step in (2, 4):
            stored = first_of_each_step(list_checkpoints(home.store, run))[step]
            for name in ("checkpoint.json", *(f.name for f in [*stored.manifest.files, *stored.manifest.samples])):
                tenant.store.copy(stored.key(name), run.checkpoint("other", step, *name.split("/")))
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 2)
        publish(tenant, kept)
        collect(tenant, kept, deleted)
        assert [stored.manifest.step for stored in list_checkpoints(home.store, run)].count(4) == 2
        assert not [key for key in tenant.listing() if "step-000002/" in key]

    def test_again_tells_the_same(self, tenant: Tenant, run: RunLayout) -> None:
        """Collecting again tells the same steps and bytes and changes nothing."""
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 0, 2, 6)
        publish(tenant, kept)
        first = collect(tenant, kept, deleted)
        before = tenant.listing()
        assert (collect(tenant, kept, deleted).report, tenant.listing()) == (first.report, before)

    def test_another_list_is_refused(self, tenant: Tenant, run: RunLayout) -> None:
        """After a deletion, another list is refused: it was fixed."""
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 2)
        publish(tenant, kept)
        collect(tenant, kept, deleted)
        before = tenant.listing()
        ending = collect(tenant, kept, [*deleted, *choose(tenant, run, 6)])
        assert ending.exit_code == ExitCode.INVALID_INPUT
        assert tenant.listing() == before

    def test_torn_deletion_is_finished(self, tenant: Tenant, run: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pod that dies after any number of deletions leaves no half checkpoint; the next one finishes the list."""
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 0, 2, 6)
        publish(tenant, kept)
        home = Home(tenant.store, tenant.layout)
        whole = {stored.folder: stored.manifest for stored in list_checkpoints(home.store, run)}
        kind = type(tenant.store)
        delete = kind.delete

        def die_in_the_middle(store: Store, keys: Iterable[str]) -> None:
            delete(store, list(keys)[:3])
            raise RuntimeError("the node is gone")

        monkeypatch.setattr(kind, "delete", die_in_the_middle)
        assert collect(tenant, kept, deleted).exit_code == ExitCode.BUG
        monkeypatch.undo()
        seen = tenant.listing()
        for stored in list_checkpoints(home.store, run):
            entries = [*whole[stored.folder].files, *whole[stored.folder].samples]
            assert all(stored.key(entry.name) in seen for entry in entries), "a torn checkpoint looks whole"
        ending = collect(tenant, kept, deleted)
        assert ending.exit_code == ExitCode.DONE, ending.report.message
        assert [stored.manifest.step for stored in list_checkpoints(home.store, run)] == [4]
        assert not [key for key in tenant.listing() if "/checkpoints/" in key and "step-000004/" not in key]

    @pytest.mark.parametrize(
        ("kept", "gone"),
        [
            ([4], [0, 2, 6]),
            ([6], [0, 2, 4]),
            ([4, 6], [0, 2]),
            ([2, 6], [0, 4]),
        ],
        ids=["the same", "another", "one more", "all of the rest"],
    )
    @pytest.mark.parametrize("deletions", [0, 1, 2])
    def test_another_choice_after_a_torn_deletion(
        self,
        tenant: Tenant,
        run: RunLayout,
        monkeypatch: pytest.MonkeyPatch,
        *,
        kept: list[int],
        gone: list[int],
        deletions: int,
    ) -> None:
        """A job that was created anew after a deletion was cut off chooses among what is left; the rest goes."""
        chosen = {step: choose(tenant, run, step)[0] for step in (0, 2, 4, 6)}
        publish(tenant, [chosen[4]])
        kind = type(tenant.store)
        delete = kind.delete

        def die_in_the_middle(store: Store, keys: Iterable[str]) -> None:
            delete(store, list(keys)[:deletions])
            raise RuntimeError("the node is gone")

        monkeypatch.setattr(kind, "delete", die_in_the_middle)
        assert collect(tenant, [chosen[4]], [chosen[step] for step in (0, 2, 6)]).exit_code == ExitCode.BUG
        monkeypatch.undo()
        home = Home(tenant.store, tenant.layout)
        left = [stored.manifest.step for stored in list_checkpoints(home.store, run)]
        selection, doomed = [chosen[step] for step in kept], [chosen[s] for s in left if s not in kept]
        publish(tenant, selection)
        first = collect(tenant, selection, doomed)
        assert first.exit_code == ExitCode.DONE, first.report.message
        assert [stored.manifest.step for stored in list_checkpoints(home.store, run)] == kept
        assert {key.split("/checkpoints/")[1][:11] for key in tenant.listing() if "/checkpoints/" in key} == {
            f"step-{step:06d}" for step in kept
        }
        assert first.report.collect is not None
        assert first.report.collect.steps == gone
        assert collect(tenant, selection, doomed).report == first.report

    def test_tombstone(self, tenant: Tenant, run: RunLayout) -> None:
        """final.json tells what was published where, and what was deleted; the plan is gone."""
        kept, deleted = choose(tenant, run, 4), choose(tenant, run, 0, 2, 6)
        publish(tenant, kept)
        collect(tenant, kept, deleted)
        final = read_document(tenant.store, run.final, FinalManifest)
        assert final.deleted_steps == [0, 2, 6]
        assert [model.key for model in final.published] == [
            key for key in published_keys(tenant) if key.endswith(".safetensors")
        ]
        assert tenant.store.head(run.collecting) is None

    def test_whole_run(self, tenant: Tenant, run: RunLayout) -> None:
        """With the object goes everything below its run; published models, datasets and other runs stay."""
        publish(tenant, choose(tenant, run, 4))
        other = tenant.layout.run("teapot", "ee" * 32).key("run.json")
        tenant.store.write(other, b"{}")
        before = tenant.listing()
        ending = collect(tenant, [], [], whole_run=True)
        after = tenant.listing()
        assert {key for key in before if key not in after} == {key for key in before if key.startswith(run.key())}
        assert other in after
        assert ending.report.collect is not None
        assert ending.report.collect.reclaimed_bytes == sum(before[key] for key in before.keys() - after.keys())

    def test_whole_run_goes_head_first(self, tenant: Tenant, run: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
        """run.json and outcome.json go before anything else: what is left after a cut is no run, and not over."""
        deleted: list[str] = []
        delete = type(tenant.store).delete

        def note(store: Store, keys: Iterable[str]) -> None:
            deleted.extend(listed := list(keys))
            delete(store, listed)

        monkeypatch.setattr(type(tenant.store), "delete", note)
        collect(tenant, [], [], whole_run=True)
        assert deleted[:2] == [run.manifest, run.outcome]

    def test_whole_run_of_nothing(self, tenant: Tenant) -> None:
        """A run that never began is collected without an error."""
        ending = collect(tenant, [], [], whole_run=True)
        assert (ending.exit_code, ending.report.collect is not None) == (ExitCode.DONE, True)


def test_hostile_plan_deletes_nothing_else(tenant: Tenant, run: RunLayout) -> None:
    """A plan in the store that lists foreign keys deletes none of them."""
    kept, deleted = choose(tenant, run, 4), choose(tenant, run, 2)
    publish(tenant, kept)
    foreign = [run.manifest, tenant.layout.owner, *published_keys(tenant)]
    plan = CollectPlan.model_validate({"steps": [2], "objects": [{"key": key, "bytes": 1} for key in foreign]})
    tenant.store.write(run.collecting, plan.to_bytes())
    before = tenant.listing()
    collect(tenant, kept, deleted)
    assert before.keys() - tenant.listing().keys() == {run.collecting}
