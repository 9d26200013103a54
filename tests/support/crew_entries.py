"""What the processes of a crew do in tests of how they are launched and followed: small ends, and no torch."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import Mock, patch

from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import TerminationReport
from atelier_trainer.commands import rank
from atelier_trainer.commands.ending import Ending
from atelier_trainer.records import Place

PATIENCE_SECONDS = 60.0
"""Longest wait of a process for what must come; then it ends with 99, which no test expects."""


def tell_environment(place: Place, pipe: Connection) -> None:
    """Say where this process stands and by which environment a library would know it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    pipe.send((place, {name: os.environ.get(name) for name in names}))


def end_with(place: Place, pipe: Connection, codes: dict[int, int]) -> None:
    """End with the code that is given for this rank."""
    os._exit(codes[place.index])


def die_or_wait(place: Place, pipe: Connection, fifo: Path, code: int) -> None:
    """Be killed in rank 0, once rank 1 listens; elsewhere leave with the given code once told to."""
    if place.index == 0:
        fifo.read_bytes()  # waits for the other to open it
        os.kill(os.getpid(), signal.SIGKILL)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    fifo.write_bytes(b"")
    os._exit(code if told.wait(PATIENCE_SECONDS) else 99)


def wait_for_term(place: Place, pipe: Connection) -> None:
    """Leave with 30 once told to."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    pipe.send("ready")
    os._exit(30 if told.wait(PATIENCE_SECONDS) else 99)


def wait_for_one_that_never_joins(place: Place, pipe: Connection) -> None:
    """Not listen yet in rank 0; elsewhere hear nothing, as a process that waits for its peers to join does not."""
    if place.index > 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("ready")
    threading.Event().wait(PATIENCE_SECONDS)
    os._exit(99)


def be_told_at_the_very_end(place: Place, pipe: Connection, input_dir: Path) -> None:
    """Train nothing, and be told to leave once the ending is said."""
    ending = Ending(ExitCode.DONE, TerminationReport(role=Role.TRAIN, reason=Reason.TRAINING_COMPLETE, message=""))
    told = Mock(wraps=pipe, close=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with patch.object(rank, "_train", lambda *_: ending):
        rank.run_rank(place, told, rank.Orders(Mock(input_dir=input_dir), Mock(), Mock()))


def hang_beside_a_failure(place: Place, pipe: Connection) -> None:
    """Fail in rank 0; elsewhere hear nothing, as a process in a collective of a GPU does not."""
    if place.index == 0:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("ready")
    threading.Event().wait(PATIENCE_SECONDS)
    os._exit(99)
