"""What can go wrong in the operator's acting half. Library errors become these at the edges, with their cause chained.

OperatorError
├── SettingsInvalid      the operator's own environment: it does not start
├── Unavailable          the API server or the network: tried again after a pause
├── NotFound             the object is not there
├── AlreadyExists        the name is taken: looked at, then same or conflict
├── Conflict             what was observed is no longer so: looked at again at once
├── Refused              the API server said no (rights, quota, policy, schema): shown to the user, tried again later
├── Unreadable           a status that this release cannot read: nothing is done, so that nothing is lost
└── LeaseLost            another operator acts now: this one ends
"""

from __future__ import annotations


class OperatorError(Exception):
    """Something that the acting half cannot do."""


class SettingsInvalid(OperatorError):
    """The environment does not say what the operator needs, or says it wrongly."""


class Unavailable(OperatorError):
    """The other side did not answer, or asked to wait."""

    def __init__(self, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotFound(OperatorError):
    """There is no such object."""


class AlreadyExists(OperatorError):
    """An object of this name is there."""


class Conflict(OperatorError):
    """The object has changed, or is another one, since it was observed."""


class Refused(OperatorError):
    """The API server understood and said no. The message is its own, cut to what a condition holds."""


class Unreadable(OperatorError):
    """A status is not of a shape this release knows."""


class LeaseLost(OperatorError):
    """The Lease could not be renewed in time, or is held by another."""
