"""What the acting half does around the learning: fetching, resuming, recording, and ending. The learning is a fake."""

from __future__ import annotations

import threading
import time
import types
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import TrainingInput
from atelier_contract.layout import RunLayout
from atelier_contract.manifests import OutcomeManifest, RunManifest
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_materials.store.checkpoints import list_checkpoints, list_states
from atelier_materials.store.documents import find_document, read_document
from atelier_materials.store.patience import Patience
from atelier_playground.s3 import FlakyProxy, S3Server
from atelier_trainer.edges import recorder
from atelier_trainer.edges.control import PodControl
from atelier_trainer.edges.home import Home
from atelier_trainer.errors import Diverged, OutOfMemory
from atelier_trainer.records import Clock, Control, Recorder, Reporter, Workspace
from fake_learning import FakeOutcome, build_checkpoint, build_run, build_state, learn
from learning import build_settings
from trainer_pod import IDENTITY, UPLOAD, Tenant, put_teapots


def home_of(tenant: Tenant) -> Home:
    """Return a tenant's store as the trainer opens it."""
    return Home(tenant.store, tenant.layout)


def list_steps(tenant: Tenant) -> tuple[list[int], list[int]]:
    """Return the steps of whole checkpoints and of whole states."""
    home, run = home_of(tenant), tenant.layout.run("teapot", IDENTITY)
    checkpoints = [stored.manifest.step for stored in list_checkpoints(home.store, run)]
    return sorted(checkpoints), [stored.manifest.step for stored in list_states(home.store, run)]


def test_learning_gets_what_was_inspected(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures arrive in the revision's order with captions, the base model complete, and nothing to resume."""
    seen: list[Workspace] = []

    def look(workspace: Workspace, *partners: Any) -> FakeOutcome:
        seen.append(workspace)
        return learn(workspace, *partners)

    monkeypatch.setattr(fake_learn, "train", look)
    volume_tenant.pod().run(Role.TRAIN, asked)
    (workspace,) = seen
    assert len(workspace.pictures) == 12
    assert all(picture.caption and picture.path.is_file() for picture in workspace.pictures)
    assert (workspace.base_model / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert (workspace.run, workspace.state, workspace.checkpoints) == (None, None, ())
    assert workspace.scratch.is_dir()


def test_finished_run_leaves_no_state(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """After the last step outcome.json is there and states are gone."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    outcome = read_document(volume_tenant.store, run.outcome, OutcomeManifest)
    assert (outcome.last_step, list_steps(volume_tenant)) == (4, ([0, 2, 4], []))


def test_finished_run_is_not_trained_again(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that comes late finds the outcome, tells every row, and trains nothing."""
    first = volume_tenant.pod().run(Role.TRAIN, asked)
    monkeypatch.setattr(fake_learn, "train", None)
    second = volume_tenant.pod().run(Role.TRAIN, asked)
    assert second.report.rows == first.report.rows
    assert (second.exit_code, second.report.train is not None and second.report.train.complete) == (0, True)


def test_states_that_a_killed_pod_left_behind_its_outcome_go(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that is killed between the outcome and its states leaves these to the next, which deletes them."""
    with monkeypatch.context() as killed:
        killed.setattr(recorder, "delete_states", lambda *_: None)
        volume_tenant.pod().run(Role.TRAIN, asked)
    assert list_steps(volume_tenant)[1] != []
    volume_tenant.pod().run(Role.TRAIN, asked)
    assert list_steps(volume_tenant) == ([0, 2, 4], [])


def test_outcome_without_its_run_is_not_believed(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """What a deletion that was cut short has left does not stand for a finished run: it is trained again."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    volume_tenant.store.delete([run.manifest])
    volume_tenant.pod().run(Role.TRAIN, asked)
    assert find_document(volume_tenant.store, run.manifest, RunManifest) is not None


def test_two_states_are_kept(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run goes on, the newest two states are in the store and no other object of a state is."""

    def die(workspace: Workspace, recorder: Recorder, *_: Any) -> FakeOutcome:
        recorder.record_run(build_run(workspace))
        for step in (1, 2, 3):
            recorder.record_state(*build_state(workspace, step))
        raise Diverged("the loss is not a number any more at step 3: lower learningRate")

    monkeypatch.setattr(fake_learn, "train", die)
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert ending.exit_code == ExitCode.DIVERGED
    assert list_steps(volume_tenant) == ([], [2, 3])
    assert sum("/state/" in key for key in volume_tenant.listing()) == 4


class TestResume:
    """A second attempt of a run that was cut off."""

    @pytest.fixture
    def cut_off(
        self,
        volume_tenant: Tenant,
        asked: TrainingInput,
        fake_learn: types.ModuleType,
        monkeypatch: pytest.MonkeyPatch,
    ) -> list[Workspace]:
        """Run an attempt that ends after checkpoint and state of step 2; return what later attempts are given."""

        def cut(workspace: Workspace, recorder: Recorder, *_: Any) -> FakeOutcome:
            recorder.record_run(build_run(workspace))
            recorder.record_state(*build_state(workspace, 2))
            recorder.record_checkpoint(*build_checkpoint(workspace, 2))
            recorder.flush()
            raise RuntimeError("the node is gone")

        monkeypatch.setattr(fake_learn, "train", cut)
        volume_tenant.pod().run(Role.TRAIN, asked)
        seen: list[Workspace] = []

        def go_on(workspace: Workspace, *partners: Any) -> FakeOutcome:
            seen.append(workspace)
            return learn(workspace, *partners)

        monkeypatch.setattr(fake_learn, "train", go_on)
        return seen

    def test_goes_on_from_the_state(
        self, volume_tenant: Tenant, asked: TrainingInput, cut_off: list[Workspace]
    ) -> None:
        """The state, run.json and the checkpoints of the first attempt are handed over."""
        ending = volume_tenant.pod().run(Role.TRAIN, asked)
        (workspace,) = cut_off
        assert workspace.state is not None
        assert workspace.state.manifest.step == 2
        assert (workspace.state.folder / "weights.safetensors").read_bytes() == b"state of step 2"
        assert [checkpoint.manifest.step for checkpoint in workspace.checkpoints] == [2]
        assert [row[0] for row in ending.report.rows] == [2, 4]

    def test_damaged_state_is_passed_over(
        self, volume_tenant: Tenant, asked: TrainingInput, cut_off: list[Workspace]
    ) -> None:
        """A state whose bytes are not those recorded is not resumed from."""
        key = next(key for key in volume_tenant.listing() if key.endswith("/state/step-000002/weights.safetensors"))
        volume_tenant.store.delete([key])
        volume_tenant.store.write(key, b"state of step X")
        volume_tenant.pod().run(Role.TRAIN, asked)
        assert cut_off[0].state is None

    def test_another_base_model_is_refused(
        self, volume_tenant: Tenant, asked: TrainingInput, cut_off: list[Workspace]
    ) -> None:
        """A run does not go on with another base model than it began with; preflight says so too."""
        key = volume_tenant.layout.base_model("base-models/tiny/scheduler/scheduler_config.json")
        before = volume_tenant.store.read(key)
        volume_tenant.store.delete([key])
        volume_tenant.store.write(key, before + b"\n")
        for role in (Role.PREFLIGHT, Role.TRAIN):
            ending = volume_tenant.pod().run(role, asked)
            assert ending.exit_code == ExitCode.BASE_MODEL_UNUSABLE
            assert "has changed since this run began" in ending.report.message
        assert cut_off == []


def test_stop_reaches_the_learning(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """`stop` in control.json ends the run with a checkpoint of the current step."""
    pod = volume_tenant.pod()
    pod.stop()
    ending = pod.run(Role.TRAIN, asked)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.DONE, Reason.STOPPED_EARLY)
    assert read_document(volume_tenant.store, run.outcome, OutcomeManifest).stopped_early


def test_out_of_memory_keeps_its_rows(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails late still tells of every checkpoint that is whole, and no outcome is written."""

    def fail(workspace: Workspace, recorder: Recorder, *_: Any) -> FakeOutcome:
        recorder.record_run(build_run(workspace))
        recorder.record_checkpoint(*build_checkpoint(workspace, 2))
        raise OutOfMemory("not one picture fits: lower tuning.resolution")

    monkeypatch.setattr(fake_learn, "train", fail)
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert (ending.exit_code, ending.report.message) == (13, "not one picture fits: lower tuning.resolution")
    assert [row[0] for row in ending.report.rows] == [2]
    assert not [key for key in volume_tenant.listing() if key.endswith("outcome.json")]


def test_bug_tells_nothing_private(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error ends with code 1; its text, which may quote anything, stays out of the last words."""

    def fail(*_: Any) -> FakeOutcome:
        raise ValueError("a caption: my secret teapot")

    monkeypatch.setattr(fake_learn, "train", fail)
    pod = volume_tenant.pod()
    ending = pod.run(Role.TRAIN, asked)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.BUG, Reason.TRAINER_ERROR)
    assert "secret" not in pod.place(names.TERMINATION_PATH).read_text()


def test_changed_picture_is_refused(volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType) -> None:
    """A picture that changed between preflight and start ends the pod with DatasetChanged."""
    home = home_of(volume_tenant)
    key = next(entry.key for entry in home.store.list(home.layout.dataset("teapots", "blobs")) if entry.bytes > 1000)
    data = bytearray(home.store.read(key))
    home.store.delete([key])
    data[-1] ^= 1
    home.store.write(key, bytes(data))
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.DATASET_UNUSABLE, Reason.DATASET_CHANGED)


def test_torn_checkpoint_is_invisible(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """Files of a checkpoint without its manifest are not told of."""
    volume_tenant.store.write(run.checkpoint("gone", 2, "concept-model.safetensors"), b"half")
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert [row[0] for row in ending.report.rows] == [0, 2, 4]
    assert all("/gone/" not in stored.folder for stored in list_checkpoints(volume_tenant.store, run))


def test_first_whole_manifest_wins(
    volume_tenant: Tenant,
    asked: TrainingInput,
    run: RunLayout,
    fake_learn: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two attempts that made the same step, the earlier written counts."""

    def make(workspace: Workspace, recorder: Recorder, *_: Any) -> FakeOutcome:
        if workspace.run is None:
            recorder.record_run(build_run(workspace))
        folder, manifest = build_checkpoint(workspace, 2)
        manifest = manifest.model_copy(update={"held_out_loss": 0.5 if workspace.run is None else 0.1})
        recorder.record_checkpoint(folder, manifest)
        raise Diverged("over")

    monkeypatch.setattr(fake_learn, "train", make)
    volume_tenant.pod().run(Role.TRAIN, asked)
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert [row[3] for row in ending.report.rows] == [0.5]


def test_bucket_that_fails_while_training(
    s3_server: S3Server,
    s3_tenant: Tenant,
    fake_learn: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training goes on while the bucket answers 503, and every checkpoint arrives."""
    asked = s3_tenant.training_input(put_teapots(s3_tenant), UPLOAD, settings=build_settings(steps=3, everySteps=1))
    trained_through = threading.Event()

    def learn_through_outage(
        workspace: Workspace, recorder: Recorder, reporter: Reporter, control: Control, clock: Clock
    ) -> FakeOutcome:
        recorder.record_run(build_run(workspace))
        recorder.flush()
        proxy.fail()
        for step in (1, 2, 3):
            recorder.record_checkpoint(*build_checkpoint(workspace, step))
        trained_through.set()  # three checkpoints were handed over and the bucket has answered nothing since
        recorder.flush()
        return FakeOutcome(0, 3, complete=True, stopped_early=False, interrupted=False)

    def pause(seconds: float) -> None:
        if trained_through.is_set():
            proxy.recover()
        time.sleep(0.001)

    monkeypatch.setattr(fake_learn, "train", learn_through_outage)
    with FlakyProxy(s3_server.endpoint) as proxy:
        pod = s3_tenant.pod(endpoint=proxy.endpoint)
        ending = pod.run(Role.TRAIN, asked, Patience(sleep=pause))
    assert (ending.exit_code, [row[0] for row in ending.report.rows]) == (ExitCode.DONE, [1, 2, 3])
    assert proxy.refused > 0
    assert list_steps(s3_tenant)[0] == [1, 2, 3]


def test_run_manifest_is_written_once(
    volume_tenant: Tenant, asked: TrainingInput, run: RunLayout, fake_learn: types.ModuleType
) -> None:
    """run.json of a finished run tells the base model's digest that training computed."""
    volume_tenant.pod().run(Role.TRAIN, asked)
    manifest = find_document(volume_tenant.store, run.manifest, RunManifest)
    assert manifest is not None
    assert len(manifest.base_model_digest) == 64


def test_sigterm_while_fetching(
    volume_tenant: Tenant, asked: TrainingInput, fake_learn: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that has to go before it trains ends with 30, which costs no retry, and nothing is written."""
    monkeypatch.setattr(PodControl, "interrupted", lambda _: True)
    before = volume_tenant.listing()
    ending = volume_tenant.pod().run(Role.TRAIN, asked)
    assert (ending.exit_code, ending.report.reason) == (ExitCode.INTERRUPTED, Reason.INTERRUPTED)
    assert volume_tenant.listing() == before
