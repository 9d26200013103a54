"""The pages walked: their commands run in order, each stretch in a room that holds what the page says it presumes.

A command is run as it stands on the page, by a shell, with the real kubectl and the real plugin on its PATH. What is
changed on the way is listed here (`CHANGED`), and so is what cannot be run (`LEFT_OUT`), each with its reason; a test
sees that neither list holds more than the pages do.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from atelier_contract.reasons import State
from atelier_playground.api import wait_for
from atelier_playground.binaries import find_kubectl
from atelier_playground.welcome import write_activation, write_kubeconfig
from journey import BASE_MODEL, TEAPOTS, Room, read_state
from pages import Block, read_blocks

RUN_HERE = ("kubectl", "source")
"""First words of commands that are run. Everything else is left out, with a reason."""

LEFT_OUT = {
    r": docker (build|push)": "needs a container engine and a registry",
    r"^docs/how-to/install\.md: helm install": "the chart's own tests install it; its images are not there",
    r"^README\.md: helm install": "as above",
    r"^README\.md: make (demo|test)": "is what runs all tests, and the demo has a test of its own",
    r"^README\.md: kubectl": "the short form of pages that are walked; its verbs and manifests have tests of their own",
    r"^docs/quickstart\.md: make playground$": "leaves a cluster up; the walk has one",
}
"""Commands that are not run, by a pattern over `page: command`, and why."""

CHANGED = {
    r"(?<=--template object)$": " --steps 4 --every-steps 2 --set tuning.resolution=64 --set validation.samplerSteps=2",
    r"http://127\.0\.0\.1:9090": "{invokeai}",
}
"""What the walk puts into commands, by the place on the page: runs on a processor are short, and servers have ports of
their own."""

COMMAND_SECONDS = 600
LONG_RUN_SECONDS = 600
"""How long a run of 240 steps may take where others work on the same two cores."""


def is_left_out(block: Block, command: str) -> bool:
    """Return whether a command is in the list of those that are not run."""
    return any(re.search(pattern, f"{block.page}: {command}") for pattern in LEFT_OUT)


def change_command(command: str, words: dict[str, str]) -> str:
    """Return a command as the walk runs it."""
    for pattern, text in CHANGED.items():
        command = re.sub(pattern, text.format(**words), command)
    return command


@dataclass
class Walk:
    """Somebody who follows a page: a room of the cluster, a folder, a shell.

    Attributes:
        room: the namespace.
        folder: the current one.
        words: what stands for addresses on the pages.
    """

    room: Room
    folder: Path
    words: dict[str, str] = field(default_factory=lambda: {"invokeai": ""})

    def run(self, command: str) -> str:
        """Run a command of a page and return what it prints. It must succeed."""
        changed = change_command(command, self.words)
        done = subprocess.run(
            ["bash", "-euc", changed],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"$ {changed}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, f"$ {changed}\n{done.stderr}"
        return done.stdout + done.stderr

    def run_program(self, text: str) -> None:
        """Run a Python program of a page, with the one published model's name for NAME. It must succeed."""
        (weights,) = [path for path in self.folder.glob("*.safetensors") if "embedding" not in path.name]
        program = text.replace("NAME", weights.stem)
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """What the shell starts with."""
        programs = f"{Path(sys.prefix) / 'bin'}:{find_kubectl().parent}:{os.environ['PATH']}"
        kubeconfig = write_kubeconfig(self.room.home.kubeconfig, self.room.name, self.folder / "kubeconfig")
        own = {"PATH": programs, "KUBECONFIG": str(kubeconfig), "HOME": str(self.folder), "NO_COLOR": "1"}
        return {**{key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}, **own}

    def prepare(self, presumes: tuple[str, ...]) -> None:
        """Put everything into the room and the folder that a page presumes."""
        for thing in presumes:
            PREPARE[thing](self)


def bring_base(walk: Walk, name: str = "sd15") -> None:
    """Put the tiny base model into the store."""
    walk.room.home.upload_folder(BASE_MODEL, walk.room.key("base-models", name))


def bring_checkout(walk: Walk) -> None:
    """Lay out what of a checkout the page names, as `make playground` leaves it."""
    bring_base(walk, "tiny")
    (walk.folder / "playground" / "datasets").mkdir(parents=True)
    shutil.copytree(TEAPOTS, walk.folder / "playground" / "datasets" / "teapots")
    (walk.folder / "build" / "playground").mkdir(parents=True)
    write_activation(walk.folder / "build" / "playground" / "activate", walk.folder / "kubeconfig")


def bring_dataset(walk: Walk) -> None:
    """Push the sample pictures and wait until they were inspected."""
    shutil.copytree(TEAPOTS, walk.folder / "teapots", dirs_exist_ok=True)
    walk.run("kubectl atelier dataset push teapots")
    walk.run("kubectl wait --for=condition=Ready dataset/teapots --timeout=3m")


def start_run(walk: Walk) -> None:
    """Start a run that is still at work when the page is walked."""
    walk.room.furnish()
    walk.room.apply_dataset()
    walk.room.apply_job("tkxw-teapot", steps=20_000, checkpoints={"everySteps": 10_000})


def fail_run(walk: Walk) -> None:
    """Start a run without its base model, and wait until it has failed."""
    walk.room.furnish()
    walk.room.apply_dataset()
    base = {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/missing"}}}
    walk.room.apply_job("tkxw-broken", baseModel=base)
    wait_for(lambda: read_state(walk.room.get_status("tkxw-broken")) == State.FAILED, "tkxw-broken has failed", 300)


def finish_run(walk: Walk) -> None:
    """Take a run to the point where somebody chooses, with the checkpoints that the pages name, or find it there."""
    if walk.room.list_jobs("tkxw-teapot"):
        return
    walk.room.apply_dataset()
    checkpoints, retention = {"everySteps": 120}, {"graceSeconds": 3600}
    walk.room.apply_job("tkxw-teapot", steps=240, checkpoints=checkpoints, retention=retention)
    walk.room.wait_state(State.AWAITING_SELECTION, name="tkxw-teapot", timeout_seconds=LONG_RUN_SECONDS)


def finalize_run(walk: Walk) -> None:
    """See that a finished run has published its last checkpoint."""
    finish_run(walk)
    if not walk.room.get_status("tkxw-teapot").models:
        walk.run("kubectl atelier select tkxw-teapot --last && kubectl atelier finalize tkxw-teapot --yes")
    shutil.copytree(BASE_MODEL, walk.folder / "sd15", dirs_exist_ok=True)
    walk.run("kubectl wait --for=jsonpath='{.status.models}' train/tkxw-teapot --timeout=3m")


PREPARE: dict[str, Callable[[Walk], None]] = {
    "cluster": lambda walk: None,
    "cluster without storage": lambda walk: walk.room.home.api.delete(
        "v1", "Secret", "atelier-storage", walk.room.name
    ),
    "checkout": bring_checkout,
    "folder teapots": lambda walk: shutil.copytree(TEAPOTS, walk.folder / "teapots", dirs_exist_ok=True),
    "folder sd15": lambda walk: shutil.copytree(BASE_MODEL, walk.folder / "sd15"),
    "base model sd15": bring_base,
    "dataset teapots": bring_dataset,
    "running run tkxw-teapot": start_run,
    "failed run tkxw-broken": fail_run,
    "finished run tkxw-teapot": finish_run,
    "finalized run tkxw-teapot": finalize_run,
    "InvokeAI": lambda walk: None,
}
"""How each thing is prepared that a page may presume."""

SHARED = ("finished run tkxw-teapot", "finalized run tkxw-teapot")
"""What is made once for all pages that presume it, in one room: they come in the order of `SHARED_PAGES`."""
SHARED_PAGES = (
    "docs/how-to/watch.md",
    "docs/troubleshooting.md",
    "docs/how-to/choose.md",
    "docs/how-to/download.md",
    "docs/how-to/publish-to-invokeai.md",
    "docs/how-to/go-on.md",
)


@dataclass(frozen=True)
class Stretch:
    """Blocks of a page that follow one another and presume the same."""

    page: str
    presumes: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        """Where it begins, as tests show it."""
        return self.blocks[0].name

    @property
    def is_shared(self) -> bool:
        """Whether it is walked in the room that several pages share."""
        return any(thing in SHARED for thing in self.presumes)


def list_stretches(pages: list[Path]) -> list[Stretch]:
    """List the stretches of pages that hold commands or programs to be run, in the order in which they are walked."""
    found = []
    for page in pages:
        runnable = (block for block in read_blocks(page) if block.language in {"sh", "python"} and block.presumes)
        for presumes, blocks in itertools.groupby(runnable, key=lambda block: block.presumes):
            kept = tuple(blocks)
            found.append(Stretch(kept[0].page, presumes, kept))
    return sorted(found, key=lambda one: SHARED_PAGES.index(one.page) if one.is_shared else -1)
