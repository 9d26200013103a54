"""The fake InvokeAI server passes what the real one passes; the real one's turn is `make test-invokeai`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_invokeai import FakeInvokeAi
from invokeai_behaviour import InvokeAiBehaviour, server, shelf

__all__ = ["server", "shelf"]


@pytest.fixture
def invokeai_url(tmp_path: Path) -> Iterator[str]:
    """The address of a server with nothing installed."""
    fake = FakeInvokeAi(tmp_path / "invokeai")
    yield fake.url
    fake.stop()


class TestFakeServer(InvokeAiBehaviour):
    """The fake one."""
