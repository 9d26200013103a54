"""A real InvokeAI server for the tests of this folder; they run by `make test-invokeai`, never by `make test`.

The server's environment takes 7 GB and comes from the package registries, so nobody gets it without asking for it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_invokeai import RealInvokeAi

ASKED = "ATELIER_TEST_INVOKEAI"
"""Set by `make test-invokeai`."""
collect_ignore_glob = [] if os.environ.get(ASKED) else ["test_*.py"]


@pytest.fixture(scope="session")
def invokeai() -> Iterator[RealInvokeAi]:
    """A running server with nothing installed."""
    with tempfile.TemporaryDirectory(prefix="atelier-invokeai-") as folder:
        server = RealInvokeAi(Path(folder))
        yield server
        server.stop()


@pytest.fixture(scope="session")
def invokeai_url(invokeai: RealInvokeAi) -> str:
    """Its address."""
    return invokeai.url
