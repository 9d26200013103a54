"""The real InvokeAI server passes what the fake one passes, so that `make test` may believe the fake."""

from __future__ import annotations

from invokeai_behaviour import InvokeAiBehaviour, server, shelf

__all__ = ["server", "shelf"]


class TestRealServer(InvokeAiBehaviour):
    """InvokeAI 6.14.2."""
