"""The trainer as its own process, with the real learning: SIGTERM, the exit codes, the served progress."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from atelier_contract import names
from atelier_contract.exit_codes import ExitCode
from atelier_contract.progress import ProgressReport
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_materials.store.checkpoints import list_checkpoints, list_states
from atelier_trainer.edges.home import Home
from learning import build_settings
from trainer_pod import IDENTITY, UPLOAD, Tenant, put_teapots

POD_ADDRESS = f"127.{random.randint(1, 60)}.{random.randint(1, 254)}.1"
"""A loopback address that nothing else uses: the port is the contract's, and the playground's pods begin at 127.64."""


def wait_for_step(process: subprocess.Popen[bytes], step: int) -> ProgressReport:
    """Ask a training pod until it has done a step."""
    address = f"http://{POD_ADDRESS}:{names.PROGRESS_PORT}{names.PROGRESS_PATH}"
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                report = ProgressReport.from_bytes(answer.read())
        except OSError:
            time.sleep(0.1)  # nothing listens yet, or is too busy to answer
            continue
        if report.step >= step:
            return report
        time.sleep(0.05)
    assert process.stderr is not None
    raise AssertionError(process.stderr.read().decode())


def test_sigterm_saves_the_state_and_the_next_pod_goes_on(volume_tenant: Tenant) -> None:
    """SIGTERM in the middle ends with 30 and a whole state; the next pod ends the run from there."""
    # Steps enough that the signal finds it training on any machine; the second pod is asked to stop at once.
    settings = build_settings(steps=20_000, everySteps=20_000, validation={"samplerSteps": 1, "prompts": ["a star"]})
    asked = volume_tenant.training_input(put_teapots(volume_tenant), UPLOAD, settings=settings)
    pod = volume_tenant.pod()
    with pod.start(Role.TRAIN, asked, **{names.ENV_POD_IP: POD_ADDRESS}) as process:
        wait_for_step(process, 3)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED, log.decode()
    words = pod.last_words
    assert words.reason == Reason.INTERRUPTED
    assert words.train is not None
    home, run = Home(volume_tenant.store, volume_tenant.layout), volume_tenant.layout.run("teapot", IDENTITY)
    assert [state.manifest.step for state in list_states(home.store, run)] == [words.train.to_step]
    assert [row[0] for row in words.rows] == [0]

    second = volume_tenant.pod()
    second.stop()
    with second.start(Role.TRAIN, asked) as process:
        _, log = process.communicate()
    assert process.returncode == ExitCode.DONE, log.decode()
    ended = second.last_words.train
    assert ended is not None
    assert (ended.from_step, ended.complete, ended.stopped_early) == (words.train.to_step, True, True)
    assert list_checkpoints(home.store, run)[-1].manifest.step == ended.to_step


def test_no_input(tmp_path: Path) -> None:
    """A pod without input ends with 10 and says so."""
    (tmp_path / "dev").mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "atelier_trainer", "inspect"], env={names.ENV_ROOT: str(tmp_path)}, check=False
    )
    assert process.returncode == ExitCode.INVALID_INPUT
    assert "there is no input.json" in (tmp_path / "dev" / "termination-log").read_text()


@pytest.mark.parametrize("role", Role)
def test_help(role: Role) -> None:
    """Every subcommand explains itself."""
    answer = subprocess.run(
        [sys.executable, "-m", "atelier_trainer", role.value, "--help"], capture_output=True, text=True, check=True
    )
    assert f"python -m atelier_trainer {role.value}" in answer.stdout
