"""The trainer's errors: each knows the exit code it ends the container with and the reason that status will show.

TrainerError
├── InvalidInput                  10  the user must change the TrainingJob, Dataset or Secret
│   ├── StorageNotConfigured      10  the store's Secret lacks keys, or its keys open nothing
│   └── StorageOwnedByAnother     10  the store belongs to another cluster or namespace
├── DatasetUnusable               11  no picture, no captions where they are needed
│   └── DatasetChanged            11  the source no longer holds what the revision lists
├── BaseModelUnusable             12  missing, incomplete, pickled, or of another architecture
├── OutOfMemory                   13  the message says which setting to lower
├── Diverged                      14  the loss is no longer a number, or far off
├── StorageUnavailable            20  the store did not answer for the whole patience
├── PodTerminated                 30  SIGTERM arrived before there was anything to save
├── PeerLost                      31  another process of the run is gone
├── PeersNotFound                  1  the processes of a run never met
├── ObjectMissing                  1  what a manifest lists is not in the store, or not as listed
└── ObjectConflict                 1  a key that is written once holds something else already

Library errors are translated where they arise (`edges/` for the store and the network, `learn/` for torch), with the
cause chained. A message says what was wrong, where, and what to do; it never holds a caption, a prompt or a secret,
because it becomes the pod's last words and then a condition that many can read. The last two are not the user's to
mend: they count as bugs, and another attempt is made.
"""

from __future__ import annotations

from typing import ClassVar

from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Reason


class TrainerError(Exception):
    """Something that ends a subcommand with a stated code and reason. Not raised itself, except for our own bugs."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    reason: ClassVar[Reason] = Reason.TRAINER_ERROR


class InvalidInput(TrainerError):
    """The input asks for something that cannot be done. Another attempt would end the same way."""

    exit_code = ExitCode.INVALID_INPUT
    reason = Reason.INVALID_INPUT


class StorageNotConfigured(InvalidInput):
    """The store's Secret is missing, lacks keys, or describes a bucket that its keys do not open."""

    reason = Reason.STORAGE_NOT_CONFIGURED


class StorageOwnedByAnother(InvalidInput):
    """owner.json names another cluster or namespace: nothing is read, written or deleted."""

    reason = Reason.STORAGE_OWNED_BY_ANOTHER


class DatasetUnusable(TrainerError):
    """The dataset cannot be trained on as it is."""

    exit_code = ExitCode.DATASET_UNUSABLE
    reason = Reason.DATASET_UNUSABLE


class DatasetChanged(DatasetUnusable):
    """The source no longer holds, byte for byte, what the pinned revision lists."""

    reason = Reason.DATASET_CHANGED


class BaseModelUnusable(TrainerError):
    """The base model is missing, incomplete, unsafe, of another architecture, or not the one the run began with."""

    exit_code = ExitCode.BASE_MODEL_UNUSABLE
    reason = Reason.BASE_MODEL_UNUSABLE


class OutOfMemory(TrainerError):
    """The device's memory does not suffice. The message says which setting to lower."""

    exit_code = ExitCode.OUT_OF_MEMORY
    reason = Reason.OUT_OF_MEMORY


class Diverged(TrainerError):
    """The loss became non-finite or far off. Nothing that is not finite was saved."""

    exit_code = ExitCode.DIVERGED
    reason = Reason.DIVERGED


class StorageUnavailable(TrainerError):
    """The store did not answer, or answered with errors of its own, for as long as a pod waits."""

    exit_code = ExitCode.STORAGE_UNAVAILABLE
    reason = Reason.STORAGE_UNAVAILABLE


class PodTerminated(TrainerError):
    """SIGTERM arrived while things were fetched: nothing is lost, another pod begins anew."""

    exit_code = ExitCode.INTERRUPTED
    reason = Reason.INTERRUPTED


class PeerLost(TrainerError):
    """Another process of the run is gone: nobody can go on alone, and another attempt goes on from the state."""

    exit_code = ExitCode.PEER_LOST
    reason = Reason.PEER_LOST


class PeersNotFound(TrainerError):
    """The processes of a run never met. Attempts are counted: what keeps them apart may not go away by itself."""


class ObjectMissing(TrainerError):
    """The store has no object under a key where one must be, or its bytes are not those that were recorded."""


class ObjectConflict(TrainerError):
    """Another content lies under a key already, and keys are written once."""
