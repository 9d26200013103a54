"""Whether to end early: the user's `stop` out of control.json, and SIGTERM.

The file lies in a ConfigMap volume, whose files the kubelet replaces within about a minute and a half of a change; it
is read again every few seconds, which costs nothing beside a training step.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from atelier_contract.inputs import ControlFile
from atelier_contract.names import CONTROL_FILE
from atelier_materials.errors import InvalidInput
from atelier_materials.store.documents import parse_document

REREAD_SECONDS = 3.0
log = logging.getLogger(__name__)


class PodControl:
    """`records.Control` of a pod."""

    def __init__(
        self, input_dir: Path, clock: Callable[[], float] = time.monotonic, *, parent: int | None = None
    ) -> None:
        """Args: `parent`, the process without which this one has to go; None: there is none."""
        self._parent = parent
        self._path = input_dir / CONTROL_FILE
        self._clock = clock
        self._read_at: float | None = None
        self._stop = False
        self._terminated = threading.Event()

    def stop_asked(self) -> bool:
        """Return whether the user asked to end now with a checkpoint of the current step."""
        now = self._clock()
        if not self._stop and (self._read_at is None or now - self._read_at >= REREAD_SECONDS):
            self._read_at = now
            self._stop = self._read()
        return self._stop

    def interrupted(self) -> bool:
        """Return whether SIGTERM arrived, or nobody is left to pass it on."""
        return self._terminated.is_set() or (self._parent is not None and os.getppid() != self._parent)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM for as long as the block runs. To be called by the main thread."""
        before = signal.signal(signal.SIGTERM, self._on_termination)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_termination(self, _number: int, _frame: FrameType | None) -> None:
        self._terminated.set()

    def _read(self) -> bool:
        try:
            return parse_document(self._path.read_bytes(), ControlFile, str(self._path)).stop
        except FileNotFoundError:
            return False
        except (OSError, InvalidInput) as error:
            # A run must not end because a file that says nothing new cannot be read.
            log.warning("control file passed over: %s", error)
            return False
