"""Whether this run exists already: an earlier object of the same name asked for the same thing.

The specification's digest and the datasets' revisions decide, not the identity: an operator that was upgraded since
brings another trainer image and so another identity, and must not train anew for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atelier_contract.inputs import StartFromInput, TrainingInput
from atelier_contract.manifests import RunManifest
from atelier_contract.settings import Settings
from atelier_materials.errors import InvalidInput
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.runs import EarlierRun, list_runs


@dataclass(frozen=True)
class StartFile:
    """One model file that a run starts from."""

    key: str
    sha256: str


def find_own_run(home: Home, asked: TrainingInput) -> EarlierRun | None:
    """Return the run to adopt or to go on with, or None.

    A finished one comes first, then the one of the identity asked for, then the latest begun.
    """
    prior = asked.prior_dataset.revision if asked.prior_dataset else ""
    revisions = (asked.dataset.revision, prior)
    same = [
        run
        for run in list_runs(home, asked.job)
        if run.manifest.spec_digest == asked.spec_digest and _read_revisions(run.manifest) == revisions
    ]
    by_worth = sorted(
        same, key=lambda run: (run.outcome is not None, run.manifest.run_identity == asked.run_identity), reverse=True
    )
    return by_worth[0] if by_worth else None


def _read_revisions(run: RunManifest) -> tuple[str, str]:
    return run.dataset_revision, run.prior_dataset_revision


def find_start(home: Home, asked: TrainingInput, start: StartFromInput, begun: RunManifest | None) -> list[StartFile]:
    """Return the model files that a run starts from, that of its own type first. Only a run without a state needs them.

    Args:
        home: the store.
        asked: the run.
        start: what it starts from.
        begun: its run.json, where an earlier attempt began it.

    Raises:
        InvalidInput: there is no such checkpoint, it is of another type or architecture, was trained with settings that
            this run's weights cannot have, or is not the one begun with.
    """
    for run in list_runs(home, start.job):
        for checkpoint in first_of_each_step(list_checkpoints(home.store, run.layout)).values():
            if checkpoint.folder.endswith(f"/{start.checkpoint}") and checkpoint.manifest.files:
                made = (run.manifest.type, run.manifest.architecture)
                if made != (asked.type, asked.base_model.architecture):
                    raise InvalidInput(
                        f"startFrom: {start.job} trained a {made[0]} of {made[1]}, this is a {asked.type} of "
                        f"{asked.base_model.architecture}: start from a job of the same type and architecture"
                    )
                for sentence in find_misfits(run.manifest.settings, asked.settings):
                    raise InvalidInput(f"startFrom: {start.job} {sentence}")
                files = [StartFile(checkpoint.key(file.name), file.sha256) for file in checkpoint.manifest.files]
                _refuse_other_start(files[0].sha256, begun, start)
                return files
    raise InvalidInput(
        f"startFrom: checkpoint {start.checkpoint} of {start.job} is not in the store: name one that kubectl atelier "
        f"checkpoints {start.job} lists (what was not selected is deleted when a job is finalized)"
    )


def find_misfits(made: Settings, asked: Settings) -> Iterator[str]:
    """Yield why weights that were made with some settings cannot be gone on from with others.

    Args:
        made: of the run that is started from.
        asked: of the run that starts; of the same type.
    """
    if made.embedding is not None and asked.embedding is not None:
        if made.embedding.vectors != asked.embedding.vectors:
            yield _say_other("embedding.vectors", made.embedding.vectors, asked.embedding.vectors)
        return
    before, after = made.concept_model, asked.concept_model
    if before is None or after is None:
        return
    if before.rank != after.rank:
        yield _say_other("conceptModel.rank", before.rank, after.rank)
    if before.targets != after.targets:
        yield _say_other("conceptModel.targets", before.targets, after.targets)
    learned, learns = (one.text_encoder_learning_rate is not None for one in (before, after))
    if learned != learns:
        did = "adapted its text encoders" if learned else "left its text encoders alone"
        yield f"{did} and this run does not: set conceptModel.textEncoderLearningRate in both or in neither"
    if before.embedding is not None and after.embedding is None:
        yield "trained an embedding with its concept model: set conceptModel.embedding, it goes on with both"
    elif before.embedding is not None and after.embedding is not None:
        vectors = (before.embedding.vectors, after.embedding.vectors)
        if vectors[0] != vectors[1]:
            yield _say_other("conceptModel.embedding.vectors", *vectors)


def _say_other(name: str, before: object, after: object) -> str:
    return f"trained with {name} {before}, this run has {after}: set it to {before}"


def _refuse_other_start(sha256: str, begun: RunManifest | None, start: StartFromInput) -> None:
    begun_with = begun.start_from_sha256 if begun else None
    if begun_with not in {None, sha256}:
        raise InvalidInput(
            f"startFrom: checkpoint {start.checkpoint} of {start.job} is another file than this run began with, and no "
            "state is left to go on from: train anew with another runId"
        )
