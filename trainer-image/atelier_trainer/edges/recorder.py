"""Makes checkpoints and states durable behind the training's back.

One thread stores what it is given, in order: files first, the manifest last. Training goes on meanwhile, also while a
bucket answers 503 for minutes; only when several things wait does the next call wait too, so that scratch space stays
bounded. A failure surfaces at the next call, in the training's own thread.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from atelier_contract.layout import RunLayout
from atelier_contract.manifests import (
    CheckpointManifest,
    ExecutionManifest,
    FileEntry,
    OutcomeManifest,
    RunManifest,
    StateManifest,
)
from atelier_contract.progress import CheckpointRow
from atelier_materials.errors import ObjectMissing
from atelier_materials.store.checkpoints import CHECKPOINT_MANIFEST, STATE_MANIFEST, StoredState, list_states
from atelier_materials.store.documents import write_document
from atelier_trainer.edges.home import Home
from atelier_trainer.edges.runs import to_row

KEPT_STATES = 2
WAITING_AT_MOST = 3
"""Things that wait to be stored: beyond, training waits, because each holds scratch space."""
Task = Callable[[], None]
log = logging.getLogger(__name__)


class StoreRecorder:
    """`records.Recorder` of a run's attempt. Use it as a context: leaving ends its thread."""

    def __init__(
        self, home: Home, run: RunLayout, attempt: str, told: Callable[[CheckpointRow], None] = lambda _: None
    ) -> None:
        self._home = home
        self._run = run
        self._attempt = attempt
        self._told = told
        self._tasks: queue.Queue[Task | None] = queue.Queue(WAITING_AT_MOST)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.put(None)
        self._thread.join()

    def record_run(self, run: RunManifest) -> None:
        """Write run.json, once."""
        self._give(lambda: write_document(self._home.store, self._run.manifest, run))

    def record_execution(self, execution: ExecutionManifest) -> None:
        """Write execution.json, once."""
        self._give(lambda: write_document(self._home.store, self._run.execution, execution))

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Store a checkpoint; its folder is removed once it is whole."""

        def store() -> None:
            entries = [*manifest.files, *manifest.samples]
            self._store(folder, entries, lambda *parts: self._run.checkpoint(self._attempt, manifest.step, *parts))
            key = self._run.checkpoint(self._attempt, manifest.step, CHECKPOINT_MANIFEST)
            write_document(self._home.store, key, manifest)
            self._told(to_row(manifest))

        self._give(store)

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        """Store a state, then drop all but the newest two; its folder is removed once it is whole."""

        def store() -> None:
            self._store(folder, manifest.files, lambda *parts: self._run.state(self._attempt, manifest.step, *parts))
            write_document(self._home.store, self._run.state(self._attempt, manifest.step, STATE_MANIFEST), manifest)
            delete_states(self._home, self._run, list_states(self._home.store, self._run)[:-KEPT_STATES])

        self._give(store)

    def flush(self) -> None:
        """Wait until everything given so far is whole in the store."""
        self._tasks.join()
        self._raise_failure()

    def record_outcome(self, outcome: OutcomeManifest) -> None:
        """Write outcome.json, after everything else is whole; states are of no use then and go."""
        self.flush()
        write_document(self._home.store, self._run.outcome, outcome)
        delete_states(self._home, self._run, list_states(self._home.store, self._run))

    def _store(self, folder: Path, entries: list[FileEntry], key_of: Callable[..., str]) -> None:
        for entry in entries:
            content = self._home.store.write_file(key_of(*entry.name.split("/")), folder / entry.name)
            if content.sha256 != entry.sha256:
                # No manifest will be written, so nobody ever sees this checkpoint.
                raise ObjectMissing(f"{entry.name} in {folder.name} is not what its manifest lists")
        shutil.rmtree(folder)

    def _give(self, task: Task) -> None:
        self._raise_failure()
        self._tasks.put(task)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                # After a failure nothing more is stored: what comes later may build on what is missing.
                if self._failure is None:
                    task()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that gives the next task
                log.warning("storing failed: %s", error)
                self._failure = error
            finally:
                self._tasks.task_done()


def delete_states(home: Home, run: RunLayout, states: list[StoredState]) -> None:
    """Delete whole states: the manifest first, so that a torn deletion is never taken for a state."""
    for state in states:
        keys = [state.manifest_key, *(state.key(file.name) for file in state.manifest.files)]
        home.store.delete(key for key in keys if run.owns(key))
