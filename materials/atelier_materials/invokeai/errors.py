"""What can go wrong between us and an InvokeAI server. No message holds a token or a link's signature.

InvokeAiError
├── ServerUnreachable   nobody answered at the address, or not in time
├── NotInvokeAi         somebody answered, and not as InvokeAI 6 does
├── AccessRefused       the server wants a token, or another one
└── RequestRefused      the server understood, and said no; with its reason

The first three end a whole publication. The last one is about one model and becomes that model's outcome.
"""

from __future__ import annotations

from atelier_contract.reasons import Reason
from atelier_materials.errors import AtelierError


class InvokeAiError(AtelierError):
    """Installing in InvokeAI did not work; what is published in the store is not touched by it."""

    reason = Reason.PUBLISH_FAILED


class ServerUnreachable(InvokeAiError):
    """Nobody answered at the address."""


class NotInvokeAi(InvokeAiError):
    """The answers are not those of InvokeAI's API."""


class AccessRefused(InvokeAiError):
    """The server gives what was asked to administrators alone."""


class RequestRefused(InvokeAiError):
    """The server said no.

    Args:
        message: what was asked and what it said.
        status: its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
