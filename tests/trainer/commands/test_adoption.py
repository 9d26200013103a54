"""Which run is adopted, and what a run starts from: another job's checkpoint, pinned. The learning is a fake."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import StartFromInput, TrainingInput
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import FinalManifest, RunManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_materials.store.documents import read_document, write_document
from atelier_trainer.commands.adoption import find_misfits
from atelier_trainer.records import Recorder, Workspace
from fake_learning import FakeOutcome, build_run, build_state, learn
from learning import EMBEDDING, PIVOTAL, build_settings
from trainer_pod import IDENTITY, Tenant


def test_adoption_of_a_finished_run(volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType) -> None:
    """A re-created job finds its finished run by spec and revision, even under a new trainer image's identity."""
    trained = volume_tenant.pod().run(Role.TRAIN, asked)
    again = asked.model_copy(update={"run_identity": "ab" * 32, "trainer_image": "trainer:next"})
    ending = volume_tenant.pod().run(Role.PREFLIGHT, again)
    assert (ending.report.reason, ending.report.rows) == (Reason.ADOPTED, trained.report.rows)
    assert ending.report.preflight is not None
    assert (ending.report.preflight.run_identity, ending.report.preflight.complete) == (IDENTITY, True)


def test_a_finished_run_of_another_base_model_is_not_adopted(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType
) -> None:
    """Where the base model has changed since, the finished run is another one's and is not taken over."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    key = volume_tenant.layout.base_model("base-models/tiny/scheduler/scheduler_config.json")
    before = volume_tenant.store.read(key)
    volume_tenant.store.delete([key])
    volume_tenant.store.write(key, before + b"\n")
    ending = volume_tenant.pod().run(Role.PREFLIGHT, asked)
    assert ending.exit_code == ExitCode.BASE_MODEL_UNUSABLE
    assert "has changed since this run began" in ending.report.message


def test_a_finalized_run_needs_no_base_model(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """What is published and finalized is adopted even when its base model is gone."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    final = FinalManifest(published=[], deleted_steps=[0, 2, 4], reclaimed_bytes=0)
    write_document(volume_tenant.store, run.final, final)
    volume_tenant.store.delete(key for key in volume_tenant.listing() if "/base-models/" in key)
    ending = volume_tenant.pod().run(Role.PREFLIGHT, asked)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.DONE, Reason.ADOPTED)


class TestStart:
    """A run that starts from a checkpoint of an older one."""

    @pytest.fixture
    def older(self, volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType) -> RunLayout:
        """Train the older job; return its keys."""
        volume_tenant.pod().run(Role.TRAIN, asked.model_copy(update={"job": "older"}))
        return volume_tenant.layout.run("older", IDENTITY)

    @pytest.fixture
    def starting(self, asked: TrainingInput, older: RunLayout) -> TrainingInput:
        """A run that starts from the older one's last checkpoint."""
        return asked.model_copy(update={"start_from": StartFromInput(job="older", checkpoint="step-000004")})

    @pytest.fixture
    def begin(
        self, volume_tenant: Tenant, starting: TrainingInput, fake_learn: types.ModuleType
    ) -> Iterator[Callable[[int], list[Workspace]]]:
        """Return a function that cuts an attempt off after a number of states; it returns what later ones are given."""
        with pytest.MonkeyPatch.context() as patch:

            def cut_off_after(states: int) -> list[Workspace]:
                def cut(workspace: Workspace, recorder: Recorder, *_: Any) -> FakeOutcome:
                    recorder.record_run(build_run(workspace))
                    for step in range(1, states + 1):
                        recorder.record_state(*build_state(workspace, step))
                    recorder.flush()
                    raise RuntimeError("the node is gone")

                seen: list[Workspace] = []

                def go_on(workspace: Workspace, *partners: Any) -> FakeOutcome:
                    seen.append(workspace)
                    return learn(workspace, *partners)

                patch.setattr(fake_learn, "train", cut)
                volume_tenant.pod().run(Role.TRAIN, starting)
                patch.setattr(fake_learn, "train", go_on)
                return seen

            yield cut_off_after

    def collect_older(self, tenant: Tenant, older: RunLayout) -> None:
        """Delete the older job's checkpoints."""
        tenant.store.delete(key for key in tenant.listing() if key.startswith(older.attempts()))

    def test_a_half_trained_run_needs_its_start_no_more(
        self,
        volume_tenant: Tenant,
        starting: TrainingInput,
        older: RunLayout,
        begin: Callable[[int], list[Workspace]],
    ) -> None:
        """With a state to go on from, a start that was collected meanwhile is missed by neither role."""
        seen = begin(1)
        self.collect_older(volume_tenant, older)
        for role in (Role.PREFLIGHT, Role.TRAIN):
            ending = volume_tenant.pod().run(role, starting)
            assert ending.exit_code == ExitCode.DONE, ending.report.message
        assert seen[0].start_from == ()

    def test_a_run_without_a_state_needs_it(
        self,
        volume_tenant: Tenant,
        starting: TrainingInput,
        older: RunLayout,
        begin: Callable[[int], list[Workspace]],
    ) -> None:
        """From step 0 the start is read again, and missed."""
        begin(0)
        self.collect_older(volume_tenant, older)
        for role in (Role.PREFLIGHT, Role.TRAIN):
            ending = volume_tenant.pod().run(role, starting)
            assert "checkpoint step-000004 of older is not in the store" in ending.report.message

    @pytest.mark.parametrize(("states", "is_refused"), [(0, True), (1, False)])
    def test_another_start_is_refused_only_at_the_start(
        self,
        volume_tenant: Tenant,
        starting: TrainingInput,
        run: RunLayout,
        begin: Callable[[int], list[Workspace]],
        *,
        states: int,
        is_refused: bool,
    ) -> None:
        """run.json pins the start's file: another one under the same name is refused, unless none is needed."""
        begin(states)
        begun = read_document(volume_tenant.store, run.manifest, RunManifest)
        assert begun.start_from_sha256 == hashlib.sha256(b"weights of step 4").hexdigest()
        volume_tenant.store.delete([run.manifest])
        write_document(volume_tenant.store, run.manifest, begun.model_copy(update={"start_from_sha256": "0" * 64}))
        for role in (Role.PREFLIGHT, Role.TRAIN):
            ending = volume_tenant.pod().run(role, starting)
            assert ("is another file than this run began with" in ending.report.message) == is_refused
            assert ending.exit_code == (ExitCode.INVALID_INPUT if is_refused else ExitCode.DONE)


def test_a_run_with_other_prior_pictures_is_not_adopted(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """Prior pictures decide the weights as the dataset does: a run that had others is another run."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    begun = read_document(volume_tenant.store, run.manifest, RunManifest)
    volume_tenant.store.delete([run.manifest])
    write_document(volume_tenant.store, run.manifest, begun.model_copy(update={"prior_dataset_revision": "e" * 64}))
    ending = volume_tenant.pod().run(Role.PREFLIGHT, asked.model_copy(update={"run_identity": "ab" * 32}))
    assert ending.report.preflight is not None
    assert (ending.report.preflight.run_identity, ending.report.preflight.complete) == ("ab" * 32, False)


def test_another_spec_is_not_adopted(volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType) -> None:
    """A job of the same name that asks for something else trains anew."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    again = asked.model_copy(update={"run_identity": "ab" * 32, "spec_digest": "cd" * 32})
    ending = volume_tenant.pod().run(Role.PREFLIGHT, again)
    assert ending.report.preflight is not None
    assert (ending.report.preflight.run_identity, ending.report.preflight.complete) == ("ab" * 32, False)


PAIR = {"embedding": PIVOTAL}
MISFITS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "rank": ({"rank": 8}, {"rank": 4}, "trained with conceptModel.rank 8, this run has 4: set it to 8"),
    "targets": ({"targets": "attention"}, {}, "conceptModel.targets attention, this run has attentionMlp"),
    "text encoder": ({"textEncoderLearningRate": 1e-4}, {}, "adapted its text encoders and this run does not"),
    "frozen text": ({}, {"textEncoderLearningRate": 1e-4}, "left its text encoders alone"),
    "pair": (PAIR, {}, "set conceptModel.embedding, it goes on with both"),
    "vectors of a pair": (PAIR, {"embedding": PIVOTAL | {"vectors": 5}}, "conceptModel.embedding.vectors 2"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_weights_that_do_not_fit_are_refused(name: str) -> None:
    """What was made with other shapes is refused before a GPU is asked for, by the setting's name."""
    made, asked, sentence = MISFITS[name]
    (found,) = find_misfits(build_settings(conceptModel=made), build_settings(conceptModel=asked))
    assert sentence in found


def test_an_embedding_of_other_vectors_is_refused() -> None:
    """Vectors cannot be added to an embedding, or taken from it."""
    settings = [build_settings(embedding=EMBEDDING | {"vectors": vectors}) for vectors in (4, 3)]
    assert list(find_misfits(*settings)) == ["trained with embedding.vectors 4, this run has 3: set it to 4"]


def test_other_rates_and_alphas_fit() -> None:
    """What decides no shape may differ, and words may join a concept model that had none."""
    asked = build_settings(learningRate=1e-5, steps=9, conceptModel={"alpha": 4, "dropout": 0.1, **PAIR})
    assert list(find_misfits(build_settings(), asked)) == []
