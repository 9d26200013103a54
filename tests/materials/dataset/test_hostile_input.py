"""Input that claims far more than it is: each is named, by a process that never needs more than half a gigabyte."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile_cases import CASES, MEMORY_MIB, meet_apart


@pytest.mark.parametrize("name", CASES)
def test_hostile_file_is_named_within_bounds(tmp_path: Path, name: str) -> None:
    """The file is refused by its finding, or is the heaviest that is taken, and memory stays within its bound."""
    file, build, finding = CASES[name]
    if file.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    build(tmp_path / file)
    met = meet_apart(tmp_path / file, timeout_seconds=120)
    assert met.found == finding
    assert met.peak_mib < MEMORY_MIB
