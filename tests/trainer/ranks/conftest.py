"""What tests of several processes share: one process that has loaded the libraries, to be forked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forked_pods import Nursery, open_nursery


@pytest.fixture(scope="package")
def nursery() -> Iterator[Nursery]:
    """The libraries, loaded once."""
    with open_nursery() as nursery:
        yield nursery
