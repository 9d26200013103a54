"""Starts the processes of this pod's share of a run and stays with them until the last has ended.

They are spawned, one for each GPU, with torchrun's environment, and each sends what it has to say through a pipe of its
own. Here nothing trains and torch is never loaded. torchrun itself is not used: it kills what it started after thirty
seconds, when a state may take minutes to save, and it ends with one code whatever the reason, when the code is API.

SIGTERM is passed on, and what follows is theirs: they agree and leave together. When one ends badly the others cannot
go on; they notice by themselves or are told, and what has not left after LEAVE_SECONDS is killed. One that SIGTERM ends
before it listens was never joined by the others: they have nothing to save, wait for it, and are killed at once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from atelier_contract.exit_codes import ExitCode
from atelier_trainer.records import Place
from atelier_trainer.settings import Crew, inherited

LEAVE_SECONDS = 120.0
"""For a process whose peer is gone: it may be in a forward pass, or be storing a checkpoint that is made already."""
LOOK_SECONDS = 0.5
"""Pause between two looks at whether SIGTERM arrived."""
GOOD_ENDS = (ExitCode.DONE, ExitCode.INTERRUPTED)
log = logging.getLogger(__name__)


@dataclass
class Member:
    """One process of this pod."""

    place: Place
    process: SpawnProcess
    pipe: Connection
    is_told_to_leave: bool = False
    is_killed_late: bool = False
    """Whether it waited too long for a peer that was gone."""

    @property
    def exit_code(self) -> int | None:
        """The process's exit code, minus the signal's number if one killed it; None: it runs."""
        return self.process.exitcode


def launch_members(crew: Crew, folder: Path, entry: Callable[..., None], *given: object) -> list[Member]:
    """Start this pod's processes.

    Args:
        crew: how many, and which pod this is.
        folder: scratch space, where processes of one pod meet in a file: so no port can be taken.
        entry: a module's function, run in each process as `entry(place, pipe, *given)`.
        given: picklable.
    """
    spawn = multiprocessing.get_context("spawn")
    rendezvous = f"tcp://{crew.leader_address}" if crew.nodes > 1 else (folder / uuid.uuid4().hex).as_uri()
    members = []
    for local in range(crew.processes):
        place = Place(crew.node_index * crew.processes + local, crew.processes * crew.nodes, rendezvous, crew.processes)
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=entry, args=(place, theirs, *given), name=f"rank-{place.index}")
        with inherited(_describe_place(crew, place, local)):
            process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        members.append(Member(place, process, ours))
        log.info("rank %d of %d is process %d", place.index, place.count, process.pid)
    return members


def follow_members(
    members: list[Member],
    listen: Callable[[Place, Any], None],
    is_terminated: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Stay until every process has ended, and pass on what they say.

    Args:
        members: what was launched.
        listen: given every message and whose it is; called in this thread.
        is_terminated: whether this pod was asked to go.
        clock: monotonic seconds.
    """
    kill_at: float | None = None
    while any(member.exit_code is None for member in members) or any(not member.pipe.closed for member in members):
        ready = wait([member.pipe for member in members if not member.pipe.closed], LOOK_SECONDS)
        for member in members:
            if member.pipe in ready:
                _receive(member, listen)
        if is_terminated() or kill_at is not None:
            _tell_to_leave(members)
        if any(_left_unheard(member) for member in members):
            for member in members:
                member.process.kill()
        if kill_at is None and any(_ended_badly(member) for member in members):
            kill_at = clock() + LEAVE_SECONDS
        if kill_at is not None and clock() >= kill_at:
            for member in members:
                if member.exit_code is None and not member.is_killed_late:
                    member.is_killed_late = True
                    log.warning("rank %d did not leave after its peer: it is killed", member.place.index)
                    member.process.kill()


def _receive(member: Member, listen: Callable[[Place, Any], None]) -> None:
    """Take one message, or see that there will be none any more."""
    try:
        message = member.pipe.recv()
    except (EOFError, OSError):
        member.pipe.close()
        member.process.join()
        log.info("rank %d ended with %s", member.place.index, member.exit_code)
        return
    listen(member.place, message)


def _tell_to_leave(members: list[Member]) -> None:
    for member in members:
        if member.exit_code is None and not member.is_told_to_leave and member.process.pid is not None:
            member.is_told_to_leave = True
            with suppress(ProcessLookupError):
                os.kill(member.process.pid, signal.SIGTERM)


def _left_unheard(member: Member) -> bool:
    """Return whether a process was told to leave before it listened, so that training began in none."""
    return member.exit_code == -signal.SIGTERM and member.is_told_to_leave


def _ended_badly(member: Member) -> bool:
    return member.exit_code is not None and member.exit_code not in GOOD_ENDS and not _left_unheard(member)


def _describe_place(crew: Crew, place: Place, local: int) -> dict[str, str]:
    """Return a process's environment, by torchrun's names."""
    told = {
        "RANK": str(place.index),
        "WORLD_SIZE": str(place.count),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(crew.processes),
        "OMP_NUM_THREADS": "1",  # as many as an execution has on the processor, see learn.execution
    }
    # A sandbox may not resolve its own host name, by which gloo would choose an interface.
    return told if crew.nodes > 1 else told | {"GLOO_SOCKET_IFNAME": "lo"}
