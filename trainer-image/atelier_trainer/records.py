"""What `learn/` and `edges/` both know: plain values and four narrow protocols, no torch, no network.

`learn/` is given folders on disk and four partners: a `Recorder` that makes a finished folder durable, a `Reporter`
that is told how far things are, a `Control` that says when to stop, and a `Cache` of what was encoded before. Whether
the folders end in a bucket or on a volume, and who asks for progress, it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from atelier_contract.inputs import TrainingInput
from atelier_contract.manifests import CheckpointManifest, ExecutionManifest, RunManifest, StateManifest
from atelier_contract.progress import Phase, ProgressReport

Room = Literal["latents", "texts", "pictures"]
"""Parts of a cache, each in segments of its own: a run that needs one need not fetch the others."""


@dataclass(frozen=True)
class Picture:
    """One picture of the dataset on local disk."""

    path: Path
    sha256: str
    """Of the file."""
    caption: str | None
    other_captions: tuple[str, ...] = ()
    """Further captions; each pass draws one of all."""
    mask: Path | None = None
    """Greyscale picture of the same shape: white is what to learn."""
    repeats: int = 1
    """How often an epoch shows it."""
    name: str = ""
    """Path as the user knows it, for messages; empty: the file's own name."""


@dataclass(frozen=True)
class LocalState:
    """A state to resume from, fetched and verified."""

    folder: Path
    manifest: StateManifest


@dataclass(frozen=True)
class LocalCheckpoint:
    """A checkpoint that is already whole in the store (of this or an earlier attempt)."""

    manifest: CheckpointManifest


@dataclass(frozen=True)
class Place:
    """Which of a run's processes this is."""

    index: int = 0
    """Rank, counted through all pods. Rank 0 alone writes."""
    count: int = 1
    rendezvous: str = ""
    """Where the processes find each other: `file:///…` within one pod, `tcp://host:port` across pods."""
    pod_count: int = 1
    """How many of them are in this one's pod, on one disk."""


@dataclass(frozen=True)
class Workspace:
    """Everything `learn.train.train` works on, all of it local."""

    input: TrainingInput
    attempt: str
    pictures: tuple[Picture, ...]
    """In the revision's order (by path)."""
    base_model: Path
    """Folder of a diffusers checkpoint, verified to hold safetensors only."""
    base_model_digest: str
    scratch: Path
    """Empty folder for checkpoints and states in the making, and caches."""
    run: RunManifest | None = None
    """run.json of an earlier attempt; None: this is the first, and it writes one."""
    execution: ExecutionManifest | None = None
    """execution.json of an earlier attempt."""
    state: LocalState | None = None
    """Newest whole state; None: start at step 0."""
    checkpoints: tuple[LocalCheckpoint, ...] = field(default=())
    """Checkpoints whole in the store; the first whole manifest of a step wins."""
    start_from: tuple[Path, ...] = ()
    """Model files (.safetensors) of one checkpoint to start from, that of the run's own type first; none where there is
    a state."""
    start_from_sha256: str | None = None
    """Of the first of them."""
    prior_pictures: tuple[Picture, ...] = ()
    """For prior preservation; empty: there are none, or the base model draws them."""
    image_encoder: Path | None = None
    """Folder of an image encoder to compare samples by."""
    advice: tuple[str, ...] = ()
    """Sentences about settings that were probably not meant, for the first warnings of progress."""
    base_model_files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each of the base model's files by its path in the folder; empty: only the whole digest is known."""
    scratch_bytes: int | None = None
    """What the pod may write to its disk in all; None: as much as there is."""
    cache: Cache | None = None
    """What was encoded before; None: nothing outlives the attempt."""
    place: Place = Place()
    """Which of the run's processes this is. Recorder and reporter of all but the first are silent."""
    pod_scratch: Path | None = None
    """Folder for what the pod's processes can share, so that it is written once; None: there is one, with `scratch`."""


class Recorder(Protocol):
    """Makes things durable, in the order they are given: a state is never whole before what was given earlier.

    A folder that is given belongs to the recorder from then on, which may remove it.
    """

    def record_run(self, run: RunManifest) -> None:
        """Write run.json, once."""

    def record_execution(self, execution: ExecutionManifest) -> None:
        """Write execution.json, once."""

    def record_checkpoint(self, folder: Path, manifest: CheckpointManifest) -> None:
        """Store the files that the manifest lists from the folder, the manifest last.

        May return before it is done; `flush` waits. Failures surface at the next call. From here on the folder is the
        recorder's, which removes it once it is stored.
        """

    def record_state(self, folder: Path, manifest: StateManifest) -> None:
        """Store a state and, once it is whole, drop this run's states but the newest two."""

    def flush(self) -> None:
        """Wait until everything given so far is whole in the store."""


class Cache(Protocol):
    """Bytes that were dear to make, by what they were made of. The first to write a key wins; nothing is changed.

    A key says everything that decides the bytes, so that what is found is never stale. Reading is for one thread.
    """

    def has_space(self, size_bytes: int) -> bool:
        """Return whether so much more can be kept at hand without crowding out checkpoints and states."""

    def fetch(self, room: Room, keys: Collection[str]) -> None:
        """Bring to hand what is kept of these keys. What is damaged counts as not kept."""

    def read(self, room: Room, key: str) -> memoryview | None:
        """Return what was fetched or written under a key, or None. The view is valid as long as the cache."""

    def write(self, room: Room, key: str, data: bytes) -> None:
        """Keep bytes at hand at once, and in time for later attempts and other jobs. A key at hand stays as it is."""

    def flush(self) -> None:
        """Wait until everything written so far can be found by later attempts."""


class Reporter(Protocol):
    """Told how far things are; keeps the last report for whoever asks."""

    def report(self, progress: ProgressReport) -> None:
        """Replace the current report."""

    def phase(self, phase: Phase) -> None:
        """Say that another phase begins; times are taken here, so that `learn/` needs no clock of its own."""


class Control(Protocol):
    """Says when to end early. Both are cheap and may be asked in every step."""

    def stop_asked(self) -> bool:
        """Return whether the user asked to end now with a checkpoint of the current step."""

    def interrupted(self) -> bool:
        """Return whether SIGTERM arrived: write the state, then leave."""


Clock = Callable[[], float]
"""Monotonic seconds; given by `__main__`, so that tests can turn it."""
