"""What a running pod says and hears: progress, metrics, control.json, SIGTERM, and the recorder's thread."""

from __future__ import annotations

import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.inputs import ControlFile
from atelier_contract.layout import NamespaceLayout, RunLayout
from atelier_contract.progress import CheckpointRow, ProgressReport
from atelier_materials.errors import ObjectConflict, ObjectMissing, StorageUnavailable
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.edges.control import REREAD_SECONDS, PodControl
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.progress_server import serve_progress
from atelier_trainer.edges.recorder import StoreRecorder
from atelier_trainer.edges.reporter import LiveReporter
from atelier_trainer.records import Workspace
from fake_learning import EXECUTION, build_checkpoint
from trainer_pod import IDENTITY, UPLOAD, Tenant


def has_ipv6() -> bool:
    """Return whether a server may listen on IPv6's own loopback."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_report(**changes: object) -> ProgressReport:
    """Return a report of step 3 of 10."""
    values: dict[str, object] = {
        "run_identity": IDENTITY,
        "attempt": "pod-1",
        "phase": "Training",
        "step": 3,
        "total_steps": 10,
        "loss": 0.25,
    }
    return ProgressReport.model_validate({**values, **changes})


class TestReporter:
    """The report as anyone who asks gets it."""

    def test_times_of_phases(self) -> None:
        """Each phase has the time spent in it, the current one up to now, also when entered twice."""
        clock = Clock()
        reporter = LiveReporter(a_report(phase="Starting"), clock)
        for phase, seconds in (("Fetching", 5.0), ("Training", 7.0), ("Checkpointing", 1.0), ("Training", 2.0)):
            reporter.phase(phase)  # type: ignore[arg-type] # literals in a tuple are plain strings to the checker
            clock.now += seconds
        assert reporter.current().phase_seconds == {
            "Starting": 0.0,
            "Fetching": 5.0,
            "Training": 9.0,
            "Checkpointing": 1.0,
        }

    def test_checkpoints_are_those_in_the_store(self) -> None:
        """A checkpoint that the learning has made is told of only when it is whole in the store."""
        reporter = LiveReporter(a_report(), Clock())
        made = CheckpointRow(step=5, bytes=1, sha256="a" * 64)
        reporter.report(a_report(step=5, checkpoints=[made]))
        assert reporter.current().checkpoints == []
        reporter.add_checkpoint(made)
        assert reporter.current().checkpoints == [made]

    def test_first_of_a_step_stays(self) -> None:
        """A second checkpoint of the same step does not replace the first."""
        reporter = LiveReporter(a_report(), Clock())
        reporter.add_checkpoint(CheckpointRow(step=5, bytes=1, sha256="a" * 64))
        reporter.add_checkpoint(CheckpointRow(step=5, bytes=2, sha256="b" * 64))
        assert [row.bytes for row in reporter.rows()] == [1]

    def test_log_tells_how_far_it_is(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log has a line a minute while it trains, not one a report; a warning is there once."""
        caplog.set_level("INFO")
        clock = Clock()
        reporter = LiveReporter(a_report(), clock)
        for step in range(10):
            reporter.report(a_report(step=step, images_per_second=2.0, remaining_seconds=600, warnings=["mind this"]))
            clock.now += 20.0
        assert [record.getMessage() for record in caplog.records] == [
            "mind this",
            *(f"step {n} of 10, loss 0.2500, 2 pictures a second, about 10 min left" for n in (0, 3, 6, 9)),
        ]

    def test_log_tells_of_phases_and_checkpoints_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each phase is said when it first begins, each checkpoint when it is in the store."""
        caplog.set_level("INFO")
        reporter = LiveReporter(a_report(phase="Starting"), Clock())
        for phase in ("Training", "Checkpointing", "Training", "Checkpointing"):
            reporter.phase(phase)  # type: ignore[arg-type] # literals in a tuple are plain strings to the checker
        reporter.add_checkpoint(CheckpointRow(step=5, bytes=1, sha256="a" * 64))
        reporter.add_checkpoint(CheckpointRow(step=5, bytes=2, sha256="b" * 64))
        told = [record.getMessage() for record in caplog.records]
        assert told == ["Training begins", "Checkpointing begins", "the checkpoint of step 5 is in the store"]


def ask(port: int, path: str) -> tuple[int, bytes]:
    """Ask the pod's server."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class TestServer:
    """What the pod serves."""

    def test_progress(self) -> None:
        """/progress is the current report, replaced as it changes."""
        reporter = LiveReporter(a_report(), Clock())
        with serve_progress("127.0.0.1", reporter.current, port=0) as port:
            reporter.report(a_report(step=4))
            _, body = ask(port, names.PROGRESS_PATH)
        assert ProgressReport.from_bytes(body).step == 4

    def test_metrics(self) -> None:
        """/metrics is Prometheus text with the same numbers; what is unknown is left out."""
        with serve_progress("127.0.0.1", LiveReporter(a_report(), Clock()).current, port=0) as port:
            status, body = ask(port, names.METRICS_PATH)
        assert status == 200
        assert b"\natelier_training_step 3.0\n" in body
        assert b"images_per_second" not in body

    def test_health(self) -> None:
        """/healthz answers while the process lives."""
        with serve_progress("127.0.0.1", LiveReporter(a_report(), Clock()).current, port=0) as port:
            assert ask(port, names.HEALTH_PATH) == (200, b"ok\n")

    def test_nothing_else(self) -> None:
        """Any other path is not found."""
        with serve_progress("127.0.0.1", LiveReporter(a_report(), Clock()).current, port=0) as port:
            assert ask(port, "/etc/passwd")[0] == 404

    def test_largest_report_fits(self) -> None:
        """A report with every checkpoint and warning stays below what the operator reads."""
        reporter = LiveReporter(a_report(warnings=["w" * 500] * 16), Clock())
        for step in range(64):
            reporter.add_checkpoint(CheckpointRow(step=step * 10_000, bytes=10**10, sha256="f" * 64, samples=8))
        assert len(reporter.current().to_bytes()) < names.PROGRESS_LIMIT_BYTES

    def test_taken_port_is_no_failure(self) -> None:
        """A port that is taken costs the progress, not the run."""
        current = LiveReporter(a_report(), Clock()).current
        with serve_progress("127.0.0.1", current, port=0) as port, serve_progress("127.0.0.1", current, port) as second:
            assert second == 0

    def test_ipv6(self) -> None:
        """A pod may have an IPv6 address."""
        if not has_ipv6():
            pytest.skip("this machine has no IPv6")
        with serve_progress("::1", LiveReporter(a_report(), Clock()).current, port=0) as port:
            assert port > 0


class TestControl:
    """When to end early."""

    def test_no_file(self, tmp_path: Path) -> None:
        """Without control.json nothing is asked."""
        assert not PodControl(tmp_path).stop_asked()

    def test_is_read_again(self, tmp_path: Path) -> None:
        """A stop that is written later is seen after the interval, and not read for in every step."""
        clock = Clock()
        control = PodControl(tmp_path, clock)
        assert not control.stop_asked()
        (tmp_path / names.CONTROL_FILE).write_bytes(ControlFile(stop=True).to_bytes())
        assert not control.stop_asked()
        clock.now += REREAD_SECONDS
        assert control.stop_asked()

    def test_nonsense_is_passed_over(self, tmp_path: Path) -> None:
        """A file that cannot be read does not end a run."""
        (tmp_path / names.CONTROL_FILE).write_text("{")
        assert not PodControl(tmp_path).stop_asked()

    def test_sigterm(self, tmp_path: Path) -> None:
        """SIGTERM is noticed while listening, and the former handler is back afterwards."""
        before = signal.getsignal(signal.SIGTERM)
        control = PodControl(tmp_path)
        with control.listening():
            assert not control.interrupted()
            os.kill(os.getpid(), signal.SIGTERM)
            assert control.interrupted()
        assert signal.getsignal(signal.SIGTERM) is before


class FailingStore(VolumeStore):
    """A volume that gives up when weights are written."""

    def write_file(self, key: str, path: Path) -> object:  # type: ignore[override] # it never returns
        raise StorageUnavailable("gone")


class TestRecorder:
    """The thread that stores."""

    @pytest.fixture
    def run(self) -> RunLayout:
        """Keys of a run."""
        return NamespaceLayout("art").run("teapot", IDENTITY)

    @pytest.fixture
    def workspace(self, volume_tenant: Tenant, tmp_path: Path) -> Workspace:
        """A workspace to make pretended checkpoints in."""
        asked = volume_tenant.training_input("0" * 64, UPLOAD)
        return Workspace(asked, "pod-1", (), tmp_path, "b" * 64, tmp_path / "work")

    def test_manifest_comes_last(self, tmp_path: Path, run: RunLayout, workspace: Workspace) -> None:
        """When the manifest is written, every file that it lists is there."""
        seen: list[bool] = []

        class Watching(VolumeStore):
            def write(self, key: str, data: bytes) -> object:  # type: ignore[override] # what is told is not used
                listed = run.checkpoint("pod-1", 2, "concept-model.safetensors")
                seen.append(self.head(listed) is not None)
                return super().write(key, data)

        with StoreRecorder(Home(Watching(tmp_path / "v"), run.namespace), run, "pod-1") as recorder:
            recorder.record_checkpoint(*build_checkpoint(workspace, 2))
            recorder.flush()
        assert seen == [True]

    def test_tells_of_whole_checkpoints(self, tmp_path: Path, run: RunLayout, workspace: Workspace) -> None:
        """A checkpoint is told of once it is whole, and its folder is gone from scratch."""
        told: list[CheckpointRow] = []
        folder, manifest = build_checkpoint(workspace, 2)
        with StoreRecorder(Home(VolumeStore(tmp_path / "v"), run.namespace), run, "pod-1", told.append) as recorder:
            recorder.record_checkpoint(folder, manifest)
            recorder.flush()
        assert ([row.step for row in told], folder.exists()) == ([2], False)

    def test_failure_surfaces(self, tmp_path: Path, run: RunLayout, workspace: Workspace) -> None:
        """What fails in the thread is raised by the next call."""
        with StoreRecorder(Home(FailingStore(tmp_path / "v"), run.namespace), run, "pod-1") as recorder:
            recorder.record_checkpoint(*build_checkpoint(workspace, 2))
            with pytest.raises(StorageUnavailable):
                recorder.flush()

    def test_nothing_follows_a_failure(self, tmp_path: Path, run: RunLayout, workspace: Workspace) -> None:
        """After a failure nothing more is written: what comes later may build on what is missing."""
        store = FailingStore(tmp_path / "v")
        with StoreRecorder(Home(store, run.namespace), run, "pod-1") as recorder:
            recorder.record_checkpoint(*build_checkpoint(workspace, 2))
            with pytest.raises(StorageUnavailable):
                recorder.flush()
            with pytest.raises(StorageUnavailable):
                recorder.record_execution(EXECUTION)
        assert list(store.list("")) == []

    def test_changed_file_makes_no_checkpoint(self, tmp_path: Path, run: RunLayout, workspace: Workspace) -> None:
        """A file that is not what its manifest lists makes no whole checkpoint."""
        store = VolumeStore(tmp_path / "v")
        folder, manifest = build_checkpoint(workspace, 2)
        (folder / manifest.files[0].name).write_bytes(b"weights of step X")
        with StoreRecorder(Home(store, run.namespace), run, "pod-1") as recorder:
            recorder.record_checkpoint(folder, manifest)
            with pytest.raises(ObjectMissing, match="is not what its manifest lists"):
                recorder.flush()
        assert store.head(run.checkpoint("pod-1", 2, "checkpoint.json")) is None

    def test_second_execution_is_refused(self, tmp_path: Path, run: RunLayout) -> None:
        """execution.json is written once: an attempt that computes otherwise must not claim to be the first."""
        home = Home(VolumeStore(tmp_path / "v"), run.namespace)
        with StoreRecorder(home, run, "pod-1") as recorder:
            recorder.record_execution(EXECUTION)
            recorder.record_execution(EXECUTION)
            recorder.flush()
            recorder.record_execution(EXECUTION.model_copy(update={"threads": 7}))
            with pytest.raises(ObjectConflict):
                recorder.flush()
