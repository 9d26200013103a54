"""Whether a thousand photographs of two megapixels are checked in half a minute, on two cores, in half a gibibyte.

Runs `kubectl atelier dataset check` as a person does, on pictures that are drawn once (`photographs`), bound to two
cores. Told are seconds by the clock and of the processor, and the most memory the process and its children held: where
other programs share the machine, the processor's seconds a core are the least that the clock could show on a quiet one.

Prints figures, and writes `benchmarks/results/dataset-check.json`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, write_figures
from photographs import find_photographs

CORES = 2
MOST_SECONDS, MOST_MIB = 30.0, 512.0
"""What was promised."""
PROGRAM = "from atelier_studio.cli.main import main; raise SystemExit(main())"


def main() -> int:
    """Measure one check; return 1 where it found fault or took more than was promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="pictures (default: 1000)")
    asked = parser.parse_args()
    folder = find_photographs(asked.count)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="atelier-check-bench-") as room:
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run_check(folder, Path(room))
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_mib = after.ru_maxrss / 1024  # of the largest; the check starts no process of its own
    figures: dict[str, Figure] = {
        "pictures": asked.count,
        "megabytes": round(sum(path.stat().st_size for path in folder.glob("*.jpg")) / 1e6),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "processor_seconds_a_core": round(processor / CORES, 1),
        "peak_mib": round(peak_mib),
        "most_seconds": MOST_SECONDS,
        "most_mib": MOST_MIB,
        "load_before": round(load_before, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "exit_code": done,
    }
    write_figures("dataset-check", figures)
    return int(done != 0 or peak_mib > MOST_MIB or processor / CORES > MOST_SECONDS)


def run_check(folder: Path, room: Path) -> int:
    """Check a folder strictly, with its page, on two cores; return the exit code."""
    words = ["dataset", "check", str(folder), "--strict", "--trigger", "TKXW", "--report", str(room / "report.html")]
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    with (room / "said.txt").open("w") as said:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            stdout=said,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
