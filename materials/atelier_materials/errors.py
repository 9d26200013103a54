"""The errors of what the trainer and the studio share: each is a sentence for people, with a code for containers.

AtelierError
├── InvalidInput                  10  the user must change the TrainingJob, Dataset or Secret
│   ├── StorageNotConfigured      10  the store's Secret lacks keys, or its keys open nothing
│   ├── StorageOwnedByAnother     10  the store belongs to another cluster or namespace
│   └── ArchiveRefused            10  an archive that nobody should unpack, or that is none
├── DatasetUnusable               11  no picture, no captions where they are needed
│   └── DatasetChanged            11  the source no longer holds what the revision lists
├── StorageUnavailable            20  the store did not answer for the whole patience
├── ObjectMissing                  1  what a manifest lists is not in the store, or not as listed
└── ObjectConflict                 1  a key that is written once holds something else already

Library errors are translated where they arise, with the cause chained. A message says what was wrong, where, and what
to do; it never holds a caption, a prompt or a secret, because it becomes a pod's last words and then a condition that
many can read. The last two are not the user's to mend: they count as bugs, and another attempt is made.
"""

from __future__ import annotations

from typing import ClassVar

from atelier_contract.exit_codes import ExitCode
from atelier_contract.reasons import Finding, Reason


class AtelierError(Exception):
    """Something a person should read. A container that it ends leaves with this code and reason. Not raised itself."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    reason: ClassVar[Reason] = Reason.TRAINER_ERROR


class InvalidInput(AtelierError):
    """The input asks for something that cannot be done. Another attempt would end the same way."""

    exit_code = ExitCode.INVALID_INPUT
    reason = Reason.INVALID_INPUT


class StorageNotConfigured(InvalidInput):
    """The store's Secret is missing, lacks keys, or describes a bucket that its keys do not open."""

    reason = Reason.STORAGE_NOT_CONFIGURED


class StorageOwnedByAnother(InvalidInput):
    """owner.json names another cluster or namespace: nothing is read, written or deleted."""

    reason = Reason.STORAGE_OWNED_BY_ANOTHER


class ArchiveRefused(InvalidInput):
    """An archive is hostile, or no archive that can be read. Nothing of it was written."""

    def __init__(self, finding: Finding, message: str) -> None:
        super().__init__(message)
        self.finding = finding


class DatasetUnusable(AtelierError):
    """The dataset cannot be trained on as it is."""

    exit_code = ExitCode.DATASET_UNUSABLE
    reason = Reason.DATASET_UNUSABLE


class DatasetChanged(DatasetUnusable):
    """The source no longer holds, byte for byte, what the pinned revision lists."""

    reason = Reason.DATASET_CHANGED


class StorageUnavailable(AtelierError):
    """The store did not answer, or answered with errors of its own, for as long as a pod waits."""

    exit_code = ExitCode.STORAGE_UNAVAILABLE
    reason = Reason.STORAGE_UNAVAILABLE


class ObjectMissing(AtelierError):
    """The store has no object under a key where one must be, or its bytes are not those that were recorded."""


class ObjectConflict(AtelierError):
    """Another content lies under a key already, and keys are written once."""
