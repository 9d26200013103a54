"""Processes that train, forked from one that has loaded the libraries: a dozen starts for the price of one.

Loading torch and diffusers takes a processor a quarter of a minute. In production every process of a pod pays that
once, at the same time as its siblings; tests of how several train together would do little else. So a `Nursery` loads
them and is forked: for every pod, and again by the pod for each of its processes. All else is as in production.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
PATIENCE_SECONDS = 600.0
"""Longest wait for anything that must come, on a busy machine. A whole test has 900 s."""


@dataclass
class Nursery:
    """A process that is forked on demand."""

    pipe: Connection
    alive: set[int] = field(default_factory=set)

    def fork(self, run: Callable[..., int], *given: Any) -> int:
        """Run a module's function in a fork, to end with the code that it returns; return its process id."""
        pid = int(self._ask("fork", run, given))
        self.alive.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Return the exit code of a fork once it has ended; minus a signal's number if that ended it."""
        code = int(self._ask("wait", pid))
        self.alive.discard(pid)
        return code

    def _ask(self, *what: Any) -> Any:
        self.pipe.send(what)
        if not self.pipe.poll(PATIENCE_SECONDS):
            raise TimeoutError(f"no answer to {what[0]}")
        return self.pipe.recv()


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """Load the libraries in a process of its own, for as long as the block runs."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    process.start()
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    theirs.close()
    nursery = Nursery(ours)
    try:
        yield nursery
    finally:
        for pid in nursery.alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # its own processes see that it is gone, and go
        ours.close()
        process.join()


def serve(pipe: Connection) -> None:
    """Load what takes long, then fork and wait as asked, until nobody asks any more."""
    import torch

    import atelier_trainer.learn.train
    import rank_learning
    from atelier_trainer.edges import launch

    assert atelier_trainer.learn.train
    assert rank_learning
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    launch.multiprocessing = SimpleNamespace(get_context=lambda _: fork)  # type: ignore[assignment] # forks fork too
    while True:
        try:
            what, *given = pipe.recv()
        except EOFError:
            return
        if what == "wait":
            pipe.send(os.waitstatus_to_exitcode(os.waitpid(given[0], 0)[1]))
            continue
        pid = os.fork()
        if pid == 0:
            pipe.close()
            _run(*given)
        pipe.send(pid)


def _run(run: Callable[..., int], given: tuple[Any, ...]) -> None:
    """Run a function and end; nothing of the process that was forked may go on here, nor outlive it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 70
    try:
        code = run(*given)
    except BaseException:  # noqa: BLE001 - it is printed, and the code says that it happened
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_pod(environment: dict[str, str], log: Path) -> int:
    """Run the training container with an environment; its log goes to a file."""
    from atelier_trainer.__main__ import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    return main(["train"])


def measure_crew(count: int, folder: Path, cases: tuple[Any, ...]) -> int:
    """Train cases in so many processes; what each measured is left in a file, `<count>.json`, by the case's name."""
    import rank_learning

    found: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}

    def listen(_: object, said: tuple[str, rank_learning.Measured]) -> None:
        found[said[0]].append(asdict(said[1]))

    code = _run_crew(count, folder, listen, rank_learning.measure_cases, cases)
    (folder / f"{count}.json").write_text(json.dumps(found))
    return code


def end_pair(folder: Path, told: int, what: str) -> int:
    """Train in two processes, of which one is told to end while it prepares; how they ended is left in `ends.json`."""
    import rank_learning

    ends: list[Any] = []
    code = _run_crew(2, folder, lambda _, said: ends.append(said), rank_learning.prepare_until_told, told, what)
    (folder / "ends.json").write_text(json.dumps(ends))
    return code


def _run_crew(
    count: int, folder: Path, listen: Callable[[Any, Any], None], entry: Callable[..., None], *given: object
) -> int:
    """Run so many processes that know each other to their end; return the worst of their exit codes."""
    from atelier_trainer.edges.launch import follow_members, launch_members
    from atelier_trainer.settings import Crew

    members = launch_members(Crew(processes=count), folder, entry, folder, *given)
    follow_members(members, listen, lambda: False)
    return max(abs(member.exit_code or 0) for member in members)
