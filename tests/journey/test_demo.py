"""`make demo`, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from atelier_playground.api import wait_for

pytestmark = pytest.mark.cluster

MINUTES = 15


def find_processes(mark: str) -> list[str]:
    """The command lines of running processes that name a path."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark in words:
            found.append(words)
    return found


@pytest.mark.timeout(60 * MINUTES)
def test_demo_tells_the_whole_story_and_ends_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo exits 0, leaves a contact sheet and two published models, and no process behind."""
    # The cluster's own temporary directory goes here, so that its processes can be told from any other's.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output = tmp_path / "output"
    command = [sys.executable, "-m", "atelier_playground.demo", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("AwaitingSelection", "checkpoints", "Finalized", "published", "freed"):
        assert word in done.stdout
    with Image.open(output / "contact-sheet.png") as sheet:
        assert sheet.width > sheet.height
    assert len(list(output.glob("*.safetensors"))) == 2
    # What had to be killed is gone a moment after its killer.
    wait_for(lambda: not find_processes(str(tmp_path)), "no process is left", 30, lambda: find_processes(str(tmp_path)))
