"""What of a base model's files this process holds in its memory: a fact of the kernel, for tests of what rests."""

from __future__ import annotations

from pathlib import Path

MAPPINGS = Path("/proc/self/maps")


def list_mapped(base_model: Path) -> set[str]:
    """Return the parts of a base model whose weights are mapped, by their folders' names."""
    lines = [line for line in MAPPINGS.read_text().splitlines() if f"{base_model}/" in line]
    return {Path(line.split()[-1]).parent.name for line in lines}
