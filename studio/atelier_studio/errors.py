"""The studio's errors and exit codes: what a person reads when a verb does not do what was meant.

StudioError (1)
├── BadRequest (2)          the words typed cannot be done; the message says what to type instead
└── ClusterRefused (3)      the API server said no, or cannot be reached
    ├── Forbidden (3)       the person has no right to it
    ├── NotFound (2)        there is no such object; names like it are in the message
    ├── AlreadyExists (2)   the name is taken
    └── ChangedMeanwhile (3)  somebody else has changed the object since it was read

A message says what is wrong, where, and what to do; `page` says where to read on. It never holds a caption, a prompt or
a value of a Secret. The errors of what trainer and studio share (`atelier_materials.errors`) get their code here too.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from atelier_contract.reasons import DatasetState, Finding, Reason, State

TROUBLESHOOTING = "docs/troubleshooting.md"
"""The page with one heading for each word that people meet; a test of the pages compares the two."""
WORDS = frozenset(word.value for words in (Reason, State, DatasetState, Finding) for word in words)


class Exit(IntEnum):
    """How `kubectl atelier` ends. They are API: scripts decide by them."""

    DONE = 0
    FAILED = 1
    """Something went wrong, or the run that was watched has failed."""
    BAD_REQUEST = 2
    """It cannot be done as it was typed."""
    REFUSED = 3
    """The cluster or the store refused, or did not answer."""
    FINDINGS = 4
    """Findings where `--strict` allows none."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it."""


class StudioError(Exception):
    """Something the person should read. Never shown with a traceback.

    Args:
        message: what is wrong, where, what to do.
        page: where to read on; empty: the class's own page, if it has one.
    """

    exit_code: ClassVar[Exit] = Exit.FAILED
    page: str = ""

    def __init__(self, message: str, page: str = "") -> None:
        super().__init__(message)
        self.page = page or self.page


class BadRequest(StudioError):
    """What was asked makes no sense for the object as it is."""

    exit_code = Exit.BAD_REQUEST
    page = "docs/commands.md#it-cannot-be-done-now"


class ClusterRefused(StudioError):
    """The cluster refused or did not answer."""

    exit_code = Exit.REFUSED
    page = "docs/commands.md#the-cluster"


class Forbidden(ClusterRefused):
    """The person has no right to it."""


class NotFound(ClusterRefused):
    """There is no object of that name."""

    exit_code = Exit.BAD_REQUEST
    page = "docs/commands.md#no-such-object"


class AlreadyExists(ClusterRefused):
    """The name is taken by another object."""

    exit_code = Exit.BAD_REQUEST
    page = "docs/commands.md#the-name-is-taken"


class ChangedMeanwhile(ClusterRefused):
    """The object is another than the one that was read, and nothing was written."""


def find_page(word: str) -> str:
    """Return where the troubleshooting page explains a reason or state; empty for a word that it does not know."""
    return f"{TROUBLESHOOTING}#{word.lower()}" if word in WORDS else ""
