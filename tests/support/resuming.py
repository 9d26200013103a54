"""Trials of resuming: attempts that are killed at a stated point, and what comes out in the end.

A `Stage` is a store with pictures and a tiny base model; each trial works on a copy of it. An attempt is a real process
(`trainer_nursery`). The uninterrupted run gives the digests that every other one has to reach, and the time that it
spends in each phase, by which points are chosen: the n-th visit of a phase, and a share of that visit's length.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atelier_contract import names
from atelier_contract.architectures import Architecture
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import BaseModelInput, StoreInput, TrainingInput
from atelier_contract.manifests import OutcomeManifest
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints, list_states
from atelier_materials.store.documents import find_document
from atelier_materials.store.volume_store import VolumeStore
from atelier_trainer.edges.home import Home
from learning import build_settings
from trainer_nursery import COUNT, HELD, LET_GO, PHASE, PHASES, WATCHED_BYTES
from trainer_pod import CLUSTER_UID, IDENTITY, NAMESPACE, NAMESPACE_UID, UPLOAD, Tenant, put_teapots

KILLED_PHASES = ("Fetching", "Caching", "Training", "Checkpointing")
LOOK_SECONDS = 0.0005
LONGEST_SECONDS = 300
STEPS, EVERY_STEPS = 6, 3


@dataclass
class Nursery:
    """The process that forks trainers."""

    process: subprocess.Popen[str]

    def start(self, order: dict[str, Any]) -> int:
        """Start an attempt and return its pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """Return the exit code of the attempt, negative for a signal."""
        return os.waitstatus_to_exitcode(int(self._read()))

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the nursery is gone"
        return line


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """Load the libraries once, and end with everything that was started."""
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    script = Path(__file__).with_name("trainer_nursery.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **quiet},
    ) as process:
        nursery = Nursery(process)
        assert nursery._read() == "ready\n"
        yield nursery
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Visit:
    """One stay in a phase, as the uninterrupted run had it."""

    phase: str
    entry: int
    """How many phases had been entered then, this one counted."""
    seconds: float


@dataclass
class Point:
    """Where an attempt is killed."""

    visit: Visit
    share: float
    """Of the visit's length."""


@dataclass
class Ended:
    """How a trial ended."""

    point: Point | None
    phase: str
    """The phase it was in when it was killed."""
    codes: list[int]
    exact: bool
    from_step: int
    """Where the last attempt went on."""
    digests: dict[int, str]
    """Of the model file of each checkpoint."""


@dataclass
class Stage:
    """A store with pictures and a base model, and the run that is asked for."""

    folder: Path
    nursery: Nursery
    asked: TrainingInput
    reference: dict[int, str] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    _trials: int = 0

    def run_uninterrupted(self) -> None:
        """Train once without any disturbance, and remember digests and phases."""
        trial = self._open()
        trial.begin()
        self.visits = trial.time_phases()
        assert trial.end() == ExitCode.DONE, trial.log_text()
        self.reference = trial.read_digests()
        trial.close()

    def choose_points(self, phase: str, count: int, seed: int) -> list[Point]:
        """Draw points of a phase: any of its visits, any share of it."""
        draw = random.Random(f"{seed} {phase}")
        visits = [visit for visit in self.visits if visit.phase == phase]
        return [Point(draw.choice(visits), draw.random()) for _ in range(count)]

    def kill(self, point: Point) -> Ended | None:
        """Kill an attempt at a point with SIGKILL, and let the next one end the run; None: it was over before."""
        trial = self._open()
        trial.begin()
        trial.wait_for_entry(point.visit.entry)
        time.sleep(point.share * point.visit.seconds)
        code = trial.send(signal.SIGKILL)
        if code != -signal.SIGKILL:
            trial.close()
            return None
        return self._finish(trial, code, point)

    def kill_once(self, points: list[Point]) -> Ended:
        """Kill an attempt at the first of these points at which it still runs."""
        return next(ended for ended in map(self.kill, points) if ended is not None)

    def terminate(self, place: str) -> Ended:
        """End an attempt with SIGTERM while it samples or saves, and let the next one end the run."""
        trial = self._open()
        trial.begin(hold=place)
        trial.wait_until_held()
        return self._finish(trial, trial.send(signal.SIGTERM), None)

    def disturb(self, **changed: Any) -> Ended:
        """End an attempt while it samples, and let one that computes otherwise end the run."""
        trial = self._open()
        trial.begin(hold="sampling")
        trial.wait_until_held()
        return self._finish(trial, trial.send(signal.SIGTERM), None, **changed)

    def _finish(self, trial: Trial, code: int, point: Point | None, **changed: Any) -> Ended:
        codes, phase = [code], trial.phase
        trial.begin(**changed)
        codes.append(trial.end())
        assert codes[-1] == ExitCode.DONE, trial.log_text()
        ended = Ended(point, phase, codes, trial.is_exact(), trial.read_start(), trial.read_digests())
        trial.close()
        return ended

    def _open(self) -> Trial:
        self._trials += 1
        folder = self.folder / f"trial-{self._trials}"
        # Objects are written once and replaced by renames, so that copies may share their bytes.
        shutil.copytree(self.folder / "volume", folder / "volume", copy_function=os.link)
        return Trial(folder, self.nursery, self.asked)


@dataclass
class Trial:
    """A copy of the stage, and the attempts on it."""

    folder: Path
    nursery: Nursery
    asked: TrainingInput
    pid: int = 0

    def begin(self, hold: str = "", environment: dict[str, str] | None = None, **order: Any) -> None:
        """Start an attempt."""
        self.watch = self.folder / f"watch-{uuid.uuid4().hex[:8]}"
        self.watch.write_bytes(bytes(WATCHED_BYTES))
        with self.watch.open("r+b") as file:
            self.watched = mmap.mmap(file.fileno(), WATCHED_BYTES)
        self.pod = _open_tenant(self.folder, self.folder / "volume").pod()
        self.pod.tell(self.asked)
        told = {**self.pod.environment, **(environment or {})}
        log, watch = str(self.folder / "log"), str(self.watch)
        self.pid = self.nursery.start({"environment": told, "log": log, "watch": watch, "hold": hold, **order})

    @property
    def phase(self) -> str:
        """The phase that the present attempt entered last."""
        return PHASES[self.watched[PHASE]]

    @property
    def entries(self) -> int:
        """Phases that it has entered."""
        return int.from_bytes(self.watched[COUNT : COUNT + 2], "little")

    def wait_for_entry(self, entry: int) -> None:
        """Wait until that many phases have been entered."""
        self._wait(lambda: self.entries >= entry)

    def wait_until_held(self) -> None:
        """Wait until the attempt stands at the place where it was told to hold."""
        self._wait(lambda: bool(self.watched[HELD]))

    def time_phases(self) -> list[Visit]:
        """Follow an attempt to its end and return its visits."""
        visits: list[Visit] = []
        begun, entry = time.monotonic(), 0
        while self.phase != "Finished":
            if self.entries != entry:
                now = time.monotonic()
                if visits:
                    visits[-1].seconds = now - begun
                begun, entry = now, self.entries
                visits.append(Visit(self.phase, entry, 0.0))
            if not Path(f"/proc/{self.pid}").exists():
                break
            time.sleep(LOOK_SECONDS)
        return visits

    def send(self, number: signal.Signals) -> int:
        """Send a signal, let an attempt that holds go on, and return its exit code."""
        with suppress(ProcessLookupError):  # it may have ended just now
            os.kill(self.pid, number)
        self.watched[LET_GO] = 1
        return self.end()

    def end(self) -> int:
        """Wait for the attempt's end and return its exit code."""
        return self.nursery.wait()

    def _wait(self, is_there: Any) -> None:
        until = time.monotonic() + LONGEST_SECONDS
        while not is_there():
            assert time.monotonic() < until, self.log_text()
            assert _is_running(self.pid), self.log_text()
            time.sleep(LOOK_SECONDS)

    @property
    def _home(self) -> Home:
        tenant = _open_tenant(self.folder, self.folder / "volume")
        return Home(tenant.store, tenant.layout)

    def read_digests(self) -> dict[int, str]:
        """Return the digests of every checkpoint's model files; the run must be over and its states gone."""
        home = self._home
        run = home.layout.run(self.asked.job, IDENTITY)
        assert find_document(home.store, run.outcome, OutcomeManifest) is not None
        assert not list_states(home.store, run)
        whole = first_of_each_step(list_checkpoints(home.store, run))
        return {step: ",".join(f.sha256 for f in found.manifest.files) for step, found in sorted(whole.items())}

    def is_exact(self) -> bool:
        """Return what the last attempt said of itself."""
        assert self.pod.last_words.train is not None
        return self.pod.last_words.train.exact

    def read_start(self) -> int:
        """Return the step that the last attempt went on from."""
        assert self.pod.last_words.train is not None
        return self.pod.last_words.train.from_step

    def log_text(self) -> str:
        """Return what the attempts wrote into their log."""
        log = self.folder / "log"
        return log.read_text()[-3000:] if log.exists() else "no log"

    def close(self) -> None:
        """Remove the copy."""
        self.watched.close()
        shutil.rmtree(self.folder)


def build_stage(folder: Path, nursery: Nursery, architecture: Architecture) -> Stage:
    """Return a stage with the teapots and a tiny base model of a family."""
    tenant = _open_tenant(folder, folder / "volume")
    revision = put_teapots(tenant)
    base = "tiny"
    if architecture is not Architecture.STABLE_DIFFUSION_1:
        base = "other"
        tenant.put_folder(_write_base(folder / "base", architecture), "base-models", base)
    told = {"architecture": architecture, "source": {"storage": {"path": f"base-models/{base}"}}}
    settings = build_settings(
        steps=STEPS,
        everySteps=EVERY_STEPS,
        batchSize=2,
        snrGamma=0 if architecture is Architecture.FLUX_1 else 5,
        validation={"samplerSteps": 2, "prompts": ["a star"]},
    )
    asked = tenant.training_input(revision, UPLOAD, settings=settings, base_model=BaseModelInput.model_validate(told))
    return Stage(folder, nursery, asked)


def _write_base(folder: Path, architecture: Architecture) -> Path:
    from tiny_models import write_flux, write_stable_diffusion_xl

    if architecture is Architecture.FLUX_1:
        return write_flux(folder)
    return write_stable_diffusion_xl(folder, text_widths=(768, 1280))


def _open_tenant(folder: Path, volume: Path) -> Tenant:
    """Return a namespace whose store is a folder, mounted into each of its pods."""
    volume.mkdir(parents=True, exist_ok=True)

    def mount(root: Path) -> None:
        target = root / names.STORE_VOLUME_DIR.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(volume)

    asked = StoreInput(
        kind="Volume",
        volume_path="ateliers",
        namespace=NAMESPACE,
        cluster_uid=CLUSTER_UID,
        namespace_uid=NAMESPACE_UID,
    )
    return Tenant(folder / "pods", asked, {}, VolumeStore(volume / "ateliers"), "", mount)


def _is_running(pid: int) -> bool:
    """Return whether a process computes; one that ended and was not waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
