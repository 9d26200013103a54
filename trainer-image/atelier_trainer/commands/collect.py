"""`collect`: delete what was not selected, and nothing else.

In: a CollectInput, whose lists are fixed. First every kept checkpoint must lie under `models/`, read back byte for
byte. Then what is to be deleted is written down (collecting.json), and only then deleted: each checkpoint's manifest
first, so that half a deletion is never taken for a whole checkpoint, then what that manifest listed. A pod that dies in
between is followed by one that reads the list again. At the end final.json says what was published and deleted.
"""

from __future__ import annotations

from collections.abc import Iterable

from atelier_contract.identity import name_checkpoint
from atelier_contract.inputs import CollectInput, SelectedCheckpoint
from atelier_contract.layout import WEIGHTS_SUFFIX, RunLayout
from atelier_contract.manifests import CollectedObject, CollectPlan, FinalManifest, PublishedModel, RunManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import CollectResult, TerminationReport
from atelier_materials.errors import InvalidInput, ObjectMissing
from atelier_materials.store.checkpoints import StoredCheckpoint, list_checkpoints
from atelier_materials.store.documents import find_document, read_document, write_document
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.ending import Ending, end_well
from atelier_trainer.commands.publish import find_selected, name_published
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.settings import TrainerSettings


def collect(settings: TrainerSettings, asked: CollectInput, patience: Patience) -> Ending:
    """Delete what was not selected, or the whole run.

    Raises:
        InvalidInput: a step is both kept and deleted.
        ObjectMissing: a kept checkpoint is not published as recorded. Nothing was deleted.
    """
    home = open_home(settings, asked.store, patience)
    run = home.layout.run(asked.job, asked.run_identity)
    result = _collect_run(home, run) if asked.whole_run else _collect_unselected(home, run, asked)
    return end_well(TerminationReport(role=Role.COLLECT, reason=Reason.COMPLETED, collect=result))


def _collect_unselected(home: Home, run: RunLayout, asked: CollectInput) -> CollectResult:
    kept = {chosen.step for chosen in asked.kept}
    doomed = {chosen.step for chosen in asked.deleted}
    if kept & doomed:
        raise InvalidInput(f"steps {sorted(kept & doomed)} are both kept and deleted: nothing was deleted")
    before = find_document(home.store, run.final, FinalManifest)
    if before is not None:
        _refuse_another_list(set(before.deleted_steps), kept, doomed)
        home.store.delete([run.collecting])
        return CollectResult(steps=before.deleted_steps, reclaimed_bytes=before.reclaimed_bytes)
    whole = list_checkpoints(home.store, run)
    published = _verify_published(home, run, asked.kept, whole, asked.job)
    plan = find_document(home.store, run.collecting, CollectPlan)
    gone: set[int] = set()
    reclaimed = 0
    if plan is not None:
        # Of this object, or of an earlier one of its name that was cut off and chose otherwise: it is finished either
        # way, because nothing else tells any more what else lies there of a checkpoint whose manifest is gone.
        gone, reclaimed = _delete_planned(home, run, plan, kept)
    if plan is None or not doomed <= gone:
        if plan is not None:
            home.store.delete([run.collecting])
        plan = plan_deletion(run, whole, doomed - gone)
        write_document(home.store, run.collecting, plan)
        more, more_bytes = _delete_planned(home, run, plan, kept)
        gone, reclaimed = gone | more, reclaimed + more_bytes
    final = FinalManifest(published=published, deleted_steps=sorted(gone), reclaimed_bytes=reclaimed)
    write_document(home.store, run.final, final)
    home.store.delete([run.collecting])
    return CollectResult(steps=final.deleted_steps, reclaimed_bytes=reclaimed)


def _delete_planned(home: Home, run: RunLayout, plan: CollectPlan, kept: set[int]) -> tuple[set[int], int]:
    """Delete what a plan lists, except of steps that are kept now; return the steps that are gone, and their size."""
    doomed = set(plan.steps) - kept
    objects = [entry for entry in plan.objects if is_doomed(run, entry.key, doomed)]
    home.store.delete(entry.key for entry in objects)
    return doomed, sum(entry.bytes for entry in objects)


def plan_deletion(run: RunLayout, whole: Iterable[StoredCheckpoint], doomed: set[int]) -> CollectPlan:
    """Return exactly what goes: manifest and listed files of every attempt's whole checkpoint of a doomed step."""
    objects: list[CollectedObject] = []
    for checkpoint in whole:
        if checkpoint.manifest.step in doomed:
            objects.append(CollectedObject(key=checkpoint.manifest_key, bytes=checkpoint.manifest_bytes))
            entries = [*checkpoint.manifest.files, *checkpoint.manifest.samples]
            objects += [CollectedObject(key=checkpoint.key(entry.name), bytes=entry.bytes) for entry in entries]
    return CollectPlan(steps=sorted(doomed), objects=[o for o in objects if is_doomed(run, o.key, doomed)])


def is_doomed(run: RunLayout, key: str, doomed: set[int]) -> bool:
    """Return whether a key lies in a doomed checkpoint of this run: asked before each deletion, whatever lists it."""
    parts = key.removeprefix(f"{run.attempts()}/").split("/")
    inside = run.owns(key) and key.startswith(f"{run.attempts()}/") and len(parts) > 3
    return inside and parts[1] == "checkpoints" and parts[2] in {name_checkpoint(step) for step in doomed}


def _refuse_another_list(gone: set[int], kept: set[int], doomed: set[int]) -> None:
    """Refuse what a finished deletion does not fulfil. It may have deleted more: an earlier plan that was cut off."""
    if kept & gone or not doomed <= gone:
        raise InvalidInput(
            f"steps {sorted(gone)} of this run were deleted, and now steps {sorted(doomed)} are to be deleted and "
            f"{sorted(kept)} kept: the list is fixed once deletion has ended"
        )


def _collect_run(home: Home, run: RunLayout) -> CollectResult:
    """Delete everything below the run's prefix: run.json and outcome.json first, so that half a run is no run."""
    objects = [entry for entry in home.store.list(run.key()) if run.owns(entry.key)]
    objects.sort(key=lambda entry: (entry.key != run.manifest, entry.key != run.outcome))
    steps = sorted({checkpoint.manifest.step for checkpoint in list_checkpoints(home.store, run)})
    home.store.delete(entry.key for entry in objects)
    return CollectResult(steps=steps, reclaimed_bytes=sum(entry.bytes for entry in objects))


def _verify_published(
    home: Home, run: RunLayout, kept: list[SelectedCheckpoint], whole: list[StoredCheckpoint], job: str
) -> list[PublishedModel]:
    """Read every file of the kept models back from `models/`; return the first of each checkpoint.

    Raises:
        ObjectMissing: one is not there, or not as recorded.
    """
    slug = read_document(home.store, run.manifest, RunManifest).slug
    published = []
    for chosen in kept:
        checkpoint = find_selected(whole, chosen, job)
        keys = []
        for file in checkpoint.manifest.files:
            keys.append(name_published(run, slug, checkpoint.manifest, file, WEIGHTS_SUFFIX))
            if home.store.digest(keys[-1]).sha256 != file.sha256:
                raise ObjectMissing(f"{keys[-1]} is not what was published: nothing was deleted, publish again")
        first = checkpoint.manifest.files[0]
        published.append(PublishedModel(step=chosen.step, key=keys[0], sha256=first.sha256, bytes=first.bytes))
    return published
