"""How long hostile files hold a person up, and how much memory they cost: each met by a process of its own.

Archives of a million entries and of a thousandfold growth, films of 100,000 frames, pictures in which every scan costs
the whole picture's time, tables of captions that unpack to gigabytes; and, beside them, the heaviest pictures that are
taken. A start of the interpreter is in every figure; on a busy machine the seconds of a core say more. Prints each, and
writes `benchmarks/results/hostile-input.json`. Ends with 1 where a file was not refused by its finding, or took more
than 5 seconds or 512 MiB.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from figures import ROOT, Figure, write_figures

sys.path.insert(0, str(ROOT / "tests" / "support"))

from hostile_cases import CASES, MEMORY_MIB, SECONDS, SLOW_CASES, meet_apart

PATIENCE_SECONDS = 60.0


def main() -> int:
    """Meet every file; return 1 where one was met badly."""
    figures: dict[str, Figure] = {}
    bad = []
    with tempfile.TemporaryDirectory(prefix="atelier-hostile-") as folder:
        for name, (file, build, finding) in {**CASES, **SLOW_CASES}.items():
            path = Path(folder) / file
            build(path)
            met = meet_apart(path, PATIENCE_SECONDS)
            figures[f"{name}: seconds"], figures[f"{name}: MiB"] = met.seconds, met.peak_mib
            figures[f"{name}: of a core"] = met.cpu_seconds
            if met.found != finding or met.seconds > SECONDS or met.peak_mib >= MEMORY_MIB:
                bad.append(f"{name}: found {met.found}, wanted {finding}, {met.seconds} s, {met.peak_mib} MiB")
            path.unlink()
    figures["worst_seconds"] = max(value for name, value in figures.items() if name.endswith("seconds"))
    figures["worst_mib"] = max(value for name, value in figures.items() if name.endswith("MiB"))
    write_figures("hostile-input", figures)
    for line in bad:
        print(line, file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
