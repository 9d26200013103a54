"""The parts of the playground that need no cluster: files, words and numbers."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier_playground import processes
from atelier_playground.api import wait_for
from atelier_playground.binaries import CONTROL_PLANE_SOURCE, KUBERNETES_VERSION, digest_control_plane
from atelier_playground.documents import read_documents
from atelier_playground.errors import ApiError
from atelier_playground.images import Image, build_python_image, find_image, read_registry, write_registry
from atelier_playground.node.container import ContainerState, build_termination
from atelier_playground.node.environment import build_command, expand
from atelier_playground.node.payload import File, write_payload
from atelier_playground.node.quantities import read_quantity
from atelier_playground.node.sandbox import Mount, Sandbox, build_options
from atelier_playground.node.status import PodRecord, build_status
from atelier_playground.processes import Child, choose_port, list_ports


class TestControlPlane:
    def test_version_is_that_of_the_modules(self):
        """The version that the server is told to report is the one that go.mod requires."""
        text = (CONTROL_PLANE_SOURCE / "go.mod").read_text()
        assert re.search(r"k8s\.io/kubernetes (\S+)$", text, re.MULTILINE)[1] == KUBERNETES_VERSION

    def test_digest_covers_every_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Another byte in any source file is another binary in the cache."""
        for path in CONTROL_PLANE_SOURCE.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr("atelier_playground.binaries.CONTROL_PLANE_SOURCE", tmp_path)
        digests = {digest_control_plane()}
        for path in sorted(tmp_path.iterdir()):
            path.write_bytes(path.read_bytes() + b"\n")
            digests.add(digest_control_plane())
        assert len(digests) == 1 + len(list(tmp_path.iterdir()))


class TestDocuments:
    @pytest.mark.parametrize("text", ["1e-4", "3E5", "0.5", "1.", ".5e3", "-2e+1"])
    def test_numbers_are_numbers(self, text: str):
        """What kubectl reads as a number is a number here."""
        assert read_documents(f"rate: {text}") == [{"rate": float(text)}]

    def test_empty_documents_are_left_out(self):
        """A separator without a document after it is nothing."""
        assert read_documents("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


class TestQuantities:
    @pytest.mark.parametrize(
        ("text", "value"), [("500m", 0.5), ("2Gi", 2**31), ("1e3", 1000), ("1k", 1000), ("1E", 10**18), ("64", 64)]
    )
    def test_suffixes_are_factors(self, text: str, value: float):
        """A quantity is its number times what its suffix stands for."""
        assert float(read_quantity(text)) == value

    def test_nonsense_is_refused(self):
        """A text that is no quantity is refused by name."""
        with pytest.raises(ValueError, match="twelve"):
            read_quantity("twelve")


class TestEnvironment:
    def test_references_are_replaced_and_doubled_dollars_kept(self):
        """`$(NAME)` is the variable, `$$(NAME)` is itself, and an unknown name stays."""
        assert expand("$(A) $$(A) $(B) $C", {"A": "1"}) == "1 $(A) $(B) $C"

    @pytest.mark.parametrize(
        ("container", "words"),
        [
            ({}, ["run", "fast"]),
            ({"args": ["slow"]}, ["run", "slow"]),
            ({"command": ["walk"]}, ["walk"]),
            ({"command": ["walk"], "args": ["slow"]}, ["walk", "slow"]),
        ],
    )
    def test_command_replaces_entry_point_and_arguments(self, container: dict, words: list[str]):
        """A pod's command and args replace the image's, as in Kubernetes' own table."""
        assert build_command(container, ["run"], ["fast"], {}) == words


NAMES = st.text("abc", min_size=1, max_size=3)
FILES = st.dictionaries(NAMES, st.builds(File, st.binary(max_size=8), st.sampled_from([0o400, 0o644])), max_size=4)


class TestPayload:
    @given(versions=st.lists(FILES, min_size=1, max_size=4))
    def test_volume_holds_the_last_version(self, versions: list[dict[str, File]], tmp_path_factory):
        """After any sequence of versions a volume shows exactly the files of the last one."""
        volume = tmp_path_factory.mktemp("volume")
        for files in versions:
            write_payload(volume, files)
        shown = {path.name: path.read_bytes() for path in volume.iterdir() if not path.name.startswith("..")}
        assert shown == {name: file.content for name, file in versions[-1].items()}

    def test_open_version_stays_whole(self, tmp_path: Path):
        """All names lead through one link, so that a change moves them together."""
        write_payload(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o644)})
        targets = {path.readlink().parts[0] for path in tmp_path.iterdir() if not path.name.startswith("..")}
        assert targets == {"..data"}

    def test_same_files_change_nothing(self, tmp_path: Path):
        """Writing what is there already is no change."""
        files = {"a": File(b"1", 0o600)}
        assert (write_payload(tmp_path, files), write_payload(tmp_path, files)) == (True, False)


def build_sandbox(**changes: object) -> Sandbox:
    """Build a sandbox of a small image."""
    fields: dict = {
        "image": Image(["/run"], mounts={"/usr": "/usr"}),
        "command": ["/run"],
        "environment": {"A": "1"},
        "mounts": [],
        "user": 65532,
        "group": 65532,
        "host_name": "pod",
        "working_directory": "/",
        "read_only_root": True,
    }
    return Sandbox(**(fields | changes))


class TestSandbox:
    def test_inner_mounts_come_after_outer_ones(self):
        """A volume inside another volume is mounted after it, so that it is seen."""
        mounts = [Mount("/in", "/a/b/c", False), Mount("/out", "/a/b", True)]
        options = build_options(build_sandbox(mounts=mounts))
        assert options.index("/out") < options.index("/in")

    def test_root_is_writable_unless_the_pod_says_otherwise(self):
        """Only a read-only root is mounted anew."""
        assert "--remount-ro" not in build_options(build_sandbox(read_only_root=False))


class TestImages:
    def test_registry_is_read_as_written(self, tmp_path: Path):
        """Images survive the file that carries them to the node."""
        images = {"a": build_python_image([tmp_path], "a.b")}
        write_registry(tmp_path / "images.json", images)
        assert read_registry(tmp_path / "images.json")["a"].entry_point == ["/opt/venv/bin/python", "-m", "a.b"]

    @pytest.mark.parametrize("suffix", ["", ":1.2", "@sha256:0", ":1@sha256:0"])
    def test_tags_and_digests_do_not_matter(self, suffix: str):
        """An image is found by its name whatever tag or digest follows, and a port is no tag."""
        image = Image(["/run"])
        assert find_image({"host:5000/team/app": image}, f"host:5000/team/app{suffix}") is image


def build_record(*states: dict, **changes: object) -> PodRecord:
    """Build a record of containers in some states."""
    containers = [ContainerState(f"c{number}", "i", state=state) for number, state in enumerate(states)]
    fields: dict = {"address": "127.1.1.1", "host_address": "127.0.0.1", "started_at": "t", "initial": []}
    return PodRecord(**(fields | {"containers": containers} | changes))


RUNNING = {"running": {"startedAt": "t"}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}


class TestStatus:
    @pytest.mark.parametrize(
        ("policy", "codes", "phase"),
        [
            ("Never", [None], "Pending"),
            ("Never", [0, 0], "Succeeded"),
            ("Never", [0, 3], "Failed"),
            ("OnFailure", [0, 3], "Running"),
            ("OnFailure", [0, 0], "Succeeded"),
            ("Always", [0], "Running"),
        ],
    )
    def test_phase_follows_from_exits_and_policy(self, policy: str, codes: list[int | None], phase: str):
        """The phase is the kubelet's, for each restart policy."""
        states = [WAITING if code is None else {"terminated": build_termination(code, "x")} for code in codes]
        assert build_status({"spec": {"restartPolicy": policy}}, build_record(*states), "t")["phase"] == phase

    def test_verdict_of_the_node_fails_the_pod(self):
        """A pod that the node ended has failed for the node's reason, whatever its containers say."""
        record = build_record({"terminated": build_termination(0, "x")}, verdict=("Evicted", "too large"), is_over=True)
        status = build_status({"spec": {}}, record, "t")
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")

    def test_transition_time_is_that_of_the_change(self):
        """A condition keeps the moment of its last change while it does not change."""
        record = build_record(RUNNING)
        build_status({"spec": {}}, record, "early")
        conditions = build_status({"spec": {}}, record, "late")["conditions"]
        assert {one["lastTransitionTime"] for one in conditions} == {"early"}


class TestProcesses:
    def test_child_dies_with_its_parent(self, tmp_path: Path):
        """A child of the playground ends when the process that started it is killed."""
        code = (
            "import sys, time; from pathlib import Path; from atelier_playground.processes import Child\n"
            f"child = Child('sleeper', ['/bin/sleep', '1000'], Path({str(tmp_path / 'log')!r}))\n"
            "print(child.pid, flush=True); time.sleep(1000)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            descriptor = os.pidfd_open(pid)
            parent.kill()
        try:
            # Readable once the process has ended; a hang here is the failure.
            assert select.select([descriptor], [], [], 30)[0] == [descriptor]
        finally:
            os.close(descriptor)

    def test_failed_start_tells_the_last_words(self, tmp_path: Path):
        """A process that ends while it is waited for is reported with the end of its log."""
        child = Child("crier", ["/bin/sh", "-c", "echo alas; exit 3"], tmp_path / "log")
        with pytest.raises(Exception, match=r"(?s)crier ended with 3.*alas"):
            child.wait_until(lambda: False, timeout_seconds=30)


def test_a_port_is_not_one_of_outgoing_connections():
    """A chosen port lies outside of the range from which the kernel takes those of outgoing connections."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first < 12_000:
        pytest.skip("this machine gives outgoing connections nearly every port")
    assert not any(first <= choose_port() <= last for _ in range(100))


def test_no_port_is_given_twice():
    """What was chosen for one server, which has not bound it yet, is not chosen for another."""
    assert len({choose_port() for _ in range(300)}) == 300


@pytest.mark.parametrize(
    ("first", "ports"),
    [(32_768, range(20_000, 30_000)), (15_000, range(10_000, 15_000)), (1_024, range(20_000, 30_000))],
)
def test_ports_lie_below_those_of_connections_where_there_is_room(
    first: int, ports: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ports are chosen below those of outgoing connections, and as usual where those begin with the first."""
    monkeypatch.setattr(processes, "_OUTGOING", tmp_path / "range")
    (tmp_path / "range").write_text(f"{first}\t60999\n")
    assert list_ports() == ports


@pytest.mark.parametrize(
    "refusal", [ApiError(404, "", ""), ApiError(429, "", ""), ApiError(503, "", ""), TimeoutError()]
)
def test_a_server_that_does_not_answer_yet_is_asked_again(refusal: Exception):
    """What is not there yet, and a server too busy to answer, end no wait."""
    answers = iter([refusal, "there"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait_for(ask, "it is there") == "there"


def test_a_refusal_ends_a_wait():
    """What the server will never allow is not waited for."""

    def ask() -> None:
        raise ApiError(403, "Forbidden", "you may not")

    with pytest.raises(ApiError, match="you may not"):
        wait_for(ask, "it is there")


def test_demo_document_is_short_enough():
    """What the demo applies has at most twenty lines."""
    from atelier_playground.demo import story

    assert len(story._DOCUMENT.read_text().splitlines()) <= 20


def test_settings_survive_their_file(tmp_path: Path):
    """A node reads the settings that its owner wrote."""
    from atelier_playground.node.settings import Settings, read_settings, write_settings

    settings = Settings("n", "k", "d", "y", "i", {"cpu": "1"}, provisioner="p")
    write_settings(tmp_path / "s.json", settings)
    assert read_settings(tmp_path / "s.json") == settings
