"""The studio's errors, each printed as one sentence and an exit code.

StudioError (1)
├── BadRequest (2)      the words typed cannot be done; the message says what to type instead
└── ClusterRefused (3)  the API server said no, or cannot be reached
"""

from __future__ import annotations


class StudioError(Exception):
    """Something the person should read. Never shown with a traceback."""

    exit_code = 1


class BadRequest(StudioError):
    """What was asked makes no sense for the object as it is."""

    exit_code = 2


class ClusterRefused(StudioError):
    """The cluster refused or did not answer."""

    exit_code = 3
