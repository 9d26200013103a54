"""Words for sizes, durations and names."""

from __future__ import annotations

import pytest

from atelier_studio.actions.describing import describe_purpose
from atelier_studio.actions.tables import build_job_row, format_duration, format_size, read_spec
from published_run import build_body


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(395, "395 bytes"), (1_000, "1 kB"), (820_400, "820 kB"), (3_440_000, "3.4 MB"), (1_204_000_000, "1.20 GB")],
)
def test_sizes_read_as_people_say_them(size_bytes: int, words: str) -> None:
    """Small files are counted in bytes, not as none."""
    assert format_size(size_bytes) == words


@pytest.mark.parametrize(("seconds", "words"), [(None, "-"), (45, "45s"), (723, "12m03s"), (11_100, "3h05m")])
def test_durations_read_as_people_say_them(seconds: int | None, words: str) -> None:
    """An unknown duration is a dash."""
    assert format_duration(seconds) == words


def test_a_models_name_cannot_steer_the_terminal():
    """Escape sequences in a model's name are shown as their numbers, in tables and in sentences."""
    body = build_body([])
    body["spec"]["modelName"] = "pot\x1b[2J"
    assert "pot\\x1b[2J" in build_job_row(body, wide=True)
    assert '"pot\\x1b[2J"' in describe_purpose(read_spec(body))
