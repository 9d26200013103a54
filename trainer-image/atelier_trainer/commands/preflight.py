"""`preflight`: find everything that is missing before a GPU is asked for; find a finished run to adopt.

In: a TrainingInput. Out: the identity of the run to train or adopt, whether it is complete, its checkpoints, and what
it will need. The checks go from cheap to dear; the first that fails ends it with a sentence.
"""

from __future__ import annotations

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import DatasetRevision
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import SHORT_DIGEST, CompactRow, PreflightResult, TerminationReport, compact_row
from atelier_materials.dataset.sources import Folder, UploadedDataset
from atelier_materials.errors import DatasetChanged, DatasetUnusable, ObjectMissing
from atelier_materials.estimates import BaseModelSize, Estimate, estimate_run
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints, list_states
from atelier_materials.store.documents import read_document
from atelier_materials.store.parallel import map_at_once
from atelier_materials.store.patience import Patience
from atelier_trainer.commands.adoption import find_own_run, find_start
from atelier_trainer.commands.advice import list_advice
from atelier_trainer.commands.ending import Ending, end_well, shorten
from atelier_trainer.commands.image_encoder import find_image_encoder
from atelier_trainer.commands.prior import ask_for_prior
from atelier_trainer.commands.refusals import check_settings
from atelier_trainer.edges.base_model import check_base_model, digest_base_model
from atelier_trainer.edges.base_model_facts import BaseModelFacts
from atelier_trainer.edges.home import Home, open_home
from atelier_trainer.edges.runs import EarlierRun, to_row
from atelier_trainer.edges.sources import open_base_model, open_dataset
from atelier_trainer.errors import BaseModelUnusable, OutOfMemory
from atelier_trainer.settings import TrainerSettings

GIB = 1 << 30


def preflight(settings: TrainerSettings, asked: TrainingInput, patience: Patience) -> Ending:
    """Check all that can be checked without a GPU.

    Raises:
        AtelierError: the first thing that is missing or wrong.
    """
    check_settings(asked)
    home = open_home(settings, asked.store, patience)
    found = find_own_run(home, asked)
    if found is not None and found.outcome is not None:
        if found.final is None:  # what is finalized was published already, whatever became of its base model
            folder = open_base_model(settings, home, asked.base_model)
            _check_same_base(folder, check_base_model(folder, asked.base_model.architecture), found)
        return _adopt(home, found)
    revision = read_revision(home, asked)
    _check_captions(asked, revision)
    _check_pictures(settings, home, asked, revision, patience)
    if prior := ask_for_prior(asked):
        _check_pictures(settings, home, prior, read_revision(home, prior), patience)
    if asked.start_from is not None and not (found and list_states(home.store, found.layout)):
        find_start(home, asked, asked.start_from, found.manifest if found else None)
    if asked.settings.validation.image_encoder is not None:
        find_image_encoder(home, asked.settings.validation.image_encoder)
    folder = open_base_model(settings, home, asked.base_model)
    facts = check_base_model(folder, asked.base_model.architecture)
    if found is not None:
        _check_same_base(folder, facts, found)
    size = BaseModelSize(facts.denoiser_parameters, facts.weights_bytes)
    estimate = estimate_run(asked.base_model.architecture, asked.settings, size, revision.items)
    _check_memory(asked, estimate)
    advice = list_advice(asked, revision.items, facts, estimate.cache_bytes)
    identity = asked.run_identity if found is None else found.manifest.run_identity
    result = PreflightResult(
        run_identity=identity,
        gpu_memory_bytes=estimate.gpu_memory_bytes,
        storage_bytes=estimate.storage_bytes,
        seconds=estimate.seconds,
    )
    rows = [] if found is None else _list_rows(home, found)
    report = TerminationReport(
        role=Role.PREFLIGHT, reason=Reason.AS_EXPECTED, message=shorten("; ".join(advice)), preflight=result, rows=rows
    )
    return end_well(report)


def read_revision(home: Home, asked: TrainingInput) -> DatasetRevision:
    """Return the contents that a run is pinned to.

    Raises:
        DatasetUnusable: they are not in this store.
    """
    key = home.layout.revision(asked.dataset.name, asked.dataset.revision)
    try:
        return read_document(home.store, key, DatasetRevision)
    except ObjectMissing as error:
        raise DatasetUnusable(
            f"revision {asked.dataset.revision[:8]} of Dataset {asked.dataset.name} is not in {home.store.address}: "
            "give Dataset and TrainingJob the same storage, and ask for another inspection"
        ) from error


def _check_captions(asked: TrainingInput, revision: DatasetRevision) -> None:
    if asked.type != "ConceptModel":
        return
    bare = [item.path for item in revision.items if not item.caption]
    if bare:
        raise DatasetUnusable(
            f"{len(bare)} of {len(revision.items)} pictures of Dataset {asked.dataset.name} have no caption, such as "
            f"{bare[0]}: a concept model needs one for each (NAME.txt beside the picture); an embedding needs none"
        )


def _check_pictures(
    settings: TrainerSettings, home: Home, asked: TrainingInput, revision: DatasetRevision, patience: Patience
) -> None:
    """Compare what lies in the source with the revision, masks too; a foreign source byte for byte."""
    dataset = open_dataset(settings, home, asked.dataset, patience)
    masked = [item for item in revision.items if item.mask_path and asked.settings.masks == "auto"]
    if isinstance(dataset, UploadedDataset):
        sizes = dataset.list_blobs()
        for item in revision.items:
            if sizes.get(dataset.key_of(item)) != item.bytes:
                raise changed(asked, item.path)
        for item in masked:
            if dataset.key_of_mask(item) not in sizes:
                raise changed(asked, item.mask_path or item.path)
        return

    def verify(file: tuple[str, str, str]) -> None:
        key, sha256, path = file
        try:
            is_same = dataset.shelf.digest(key).sha256 == sha256
        except ObjectMissing:
            is_same = False
        if not is_same:
            raise changed(asked, path)

    pictures = [(dataset.key_of(item), item.sha256, item.path) for item in revision.items]
    masks = [(dataset.key_of_mask(item), item.mask_sha256 or "", item.mask_path or "") for item in masked]
    for _ in map_at_once(verify, [*pictures, *masks]):
        pass


def changed(asked: TrainingInput, path: str) -> DatasetChanged:
    """Return the error of a picture that is no longer what the revision lists."""
    return DatasetChanged(
        f"{path} of Dataset {asked.dataset.name} is no longer what was inspected as revision "
        f"{asked.dataset.revision[:8]}: put it back, or ask for another inspection and create a new TrainingJob"
    )


def _check_same_base(folder: Folder, facts: BaseModelFacts, found: EarlierRun) -> None:
    """Refuse to go on with another base model than the run began with."""
    digest = digest_base_model({file.path: folder.shelf.digest(file.key).sha256 for file in facts.files})
    refuse_other_base(digest, found.manifest.base_model_digest, folder)


def refuse_other_base(digest: str, begun_with: str, folder: Folder) -> None:
    """Raise BaseModelUnusable where a run would go on with another base model than it began with."""
    if digest != begun_with:
        raise BaseModelUnusable(
            f"the base model at {folder.address} has changed since this run began (digest {begun_with[:8]} then, "
            f"{digest[:8]} now): put the former one back, or train anew with another runId"
        )


def _check_memory(asked: TrainingInput, estimate: Estimate) -> None:
    way_out = "lower tuning.resolution or conceptModel.rank"
    if asked.settings.quantization != "4bit":
        way_out += ", set tuning.quantization to 8bit or 4bit"
    if asked.gpu_memory_bytes is not None and estimate.gpu_memory_bytes > asked.gpu_memory_bytes:
        raise OutOfMemory(
            f"this run needs about {estimate.gpu_memory_bytes / GIB:.1f} GiB of GPU memory, the GPU has "
            f"{asked.gpu_memory_bytes / GIB:.1f}: {way_out}, or ask for another GPU"
        )


def _adopt(home: Home, found: EarlierRun) -> Ending:
    assert found.outcome is not None  # noqa: S101 - the caller asked
    result = PreflightResult(
        run_identity=found.manifest.run_identity,
        complete=True,
        stopped_early=found.outcome.stopped_early,
        finalized=found.final is not None,
        published=[
            (model.step, model.bytes, model.sha256[:SHORT_DIGEST])
            for model in (found.final.published if found.final else [])
        ],
    )
    message = "An earlier TrainingJob of this name asked for the same: its finished run is adopted, nothing is trained."
    if found.final is not None:
        message += (
            f" It was finalized: {len(found.final.published)} models are published, "
            f"{len(found.final.deleted_steps)} checkpoints were deleted. For another training give another runId."
        )
    report = TerminationReport(
        role=Role.PREFLIGHT, reason=Reason.ADOPTED, message=message, preflight=result, rows=_list_rows(home, found)
    )
    return end_well(report)


def _list_rows(home: Home, found: EarlierRun) -> list[CompactRow]:
    whole = first_of_each_step(list_checkpoints(home.store, found.layout))
    return [compact_row(to_row(checkpoint.manifest)) for checkpoint in whole.values()]
