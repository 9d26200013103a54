"""Times as status carries them: RFC 3339 in UTC, whole seconds. Knows no clock: every time is handed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def format_time(instant: datetime) -> str:
    """Return a time as status carries it. Example: 2026-11-23T08:00:00Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: str) -> datetime:
    """Return the time that a status carries. Raises ValueError for anything that `format_time` does not write."""
    return datetime.fromisoformat(text)


def add_seconds(instant: datetime, seconds: float) -> datetime:
    """Return the time some seconds later."""
    return instant + timedelta(seconds=seconds)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Return the seconds from one time to another; negative where the second comes first."""
    return (later - earlier).total_seconds()
