"""Real trainer processes without their start: a process that has loaded the libraries forks one for each attempt.

`python trainer_nursery.py` reads one JSON line for each attempt (`environment`, `log`, `watch`, `hold`), answers with
the child's pid, and once the child is gone with its wait status. From the fork on a child is `python -m atelier_trainer
train`: it reads its mounted input, installs its signal handlers, starts its threads, and can be killed. Loading the
libraries takes ten seconds a process, and nothing of a run happens in them.

A child tells its phases through a file mapped into memory: eight bytes, a counter of phases entered and the phase's
number. Where it is told to hold, it waits at that place until the watcher has sent its signal (the ninth byte).
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHASES = ("Starting", "Fetching", "Verifying", "Caching", "Training", "Checkpointing", "Finished")
COUNT, PHASE, HELD, LET_GO = 0, 4, 8, 9
"""Places in the watched file: entries so far (two bytes), the phase's number, whether it holds and may go on."""
WATCHED_BYTES = 16


def watch_phases(watched: mmap.mmap) -> None:
    """Have every change of phase written down where another process sees it."""
    from atelier_trainer.edges.reporter import LiveReporter

    enter = LiveReporter._enter

    def note(self: Any, phase: str) -> None:
        if phase != self._phase:
            watched[PHASE] = PHASES.index(phase)
            count = int.from_bytes(watched[COUNT : COUNT + 2], "little") + 1
            watched[COUNT : COUNT + 2] = count.to_bytes(2, "little")
        enter(self, phase)

    LiveReporter._enter = note


def hold_at(place: str, watched: mmap.mmap) -> None:
    """Wait at the second visit of a place until the watcher has sent its signal."""
    from atelier_trainer.edges.recorder import StoreRecorder
    from atelier_trainer.learn.families.discrete import DiscreteDiffusion
    from atelier_trainer.learn.families.flux import Flux1

    visits = [0]

    def holding(call: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any, **named: Any) -> Any:
            visits[0] += 1
            if visits[0] == 2:
                watched[HELD] = 1
                while not watched[LET_GO]:
                    time.sleep(0.001)
            return call(*arguments, **named)

        return held

    if place == "sampling":
        DiscreteDiffusion.sample = holding(DiscreteDiffusion.sample)
        Flux1.sample = holding(Flux1.sample)
    elif place == "saving":
        StoreRecorder._store = holding(StoreRecorder._store)
    else:
        raise ValueError(place)


def run_short_of_memory() -> None:
    """Let no more than one picture fit in a pass, as on a smaller device."""
    import torch

    from atelier_trainer.learn import gradients

    compute = gradients.compute_loss

    def refuse(family: Any, method: Any, part: Any, *rest: Any, **named: Any) -> Any:
        if len(part.latents) > 1:
            raise torch.OutOfMemoryError("simulated")
        return compute(family, method, part, *rest, **named)

    gradients.compute_loss = refuse


def become_trainer(order: dict[str, Any]) -> None:
    """Be one attempt; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    with Path(order["watch"]).open("r+b") as file:
        watched = mmap.mmap(file.fileno(), WATCHED_BYTES)
    watch_phases(watched)
    if order.get("hold"):
        hold_at(order["hold"], watched)
    if order.get("is_short_of_memory"):
        run_short_of_memory()
    from atelier_trainer.__main__ import main

    os._exit(main(["train"]))


def serve() -> None:
    """Fork one child for each line of input, and say how it ended."""
    import atelier_trainer.__main__
    import atelier_trainer.learn.train  # noqa: F401 - loaded once, for all children

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become_trainer(order)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
