"""What can go wrong while a playground is built, started or asked.

Every error says what was wrong, where, and what to do. This module knows nothing of the others.
"""


class PlaygroundError(Exception):
    """Anything that keeps the playground from doing what it was asked."""


class BinaryMissing(PlaygroundError):
    """A program that the playground needs is neither installed nor buildable here."""


class BuildFailed(PlaygroundError):
    """The control plane did not compile."""


class StartFailed(PlaygroundError):
    """A process of the playground ended or stayed silent while it should have become ready."""


class SandboxRefused(PlaygroundError):
    """This machine does not let an ordinary process make the namespaces a sandbox needs."""


class ApiError(PlaygroundError):
    """The API server refused a request.

    Attributes:
        status: the HTTP status code.
        reason: the API's own word for it, such as NotFound, Conflict or Invalid.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class WaitedTooLong(PlaygroundError):
    """A fact that was waited for did not come true in the time allowed."""
