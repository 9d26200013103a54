"""The two clocks: the wall's, for what people and other programs read, and a steady one, for waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def read_now() -> datetime:
    """Return the time of day, aware, in UTC."""
    return datetime.now(UTC)


def read_steady_seconds() -> float:
    """Return seconds that only ever grow, whatever becomes of the wall clock."""
    return time.monotonic()
