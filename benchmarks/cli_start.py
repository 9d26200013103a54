"""How long `kubectl atelier` takes to start: help, and what a verb loads before it asks the cluster.

    python benchmarks/cli_start.py

Each figure is the median of fresh processes, bytecode compiled as an installation leaves it, with the spread beside it.
Seconds of the processor are told too: they hold on a machine that does something else besides.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, write_figures

RUNS = 11
LIMIT_SECONDS = 0.5
"""The bound for a command to be there: a person waits no longer without noticing."""
SCRIPT = Path(sys.prefix) / "bin" / "kubectl-atelier"
PROGRAMS = {
    "help": [str(SCRIPT), "--help"],
    "refusal": [str(SCRIPT), "lst"],
    "import": [sys.executable, "-c", "import atelier_studio.cli.main"],
    "list_until_asked": [
        sys.executable,
        "-c",
        "import atelier_studio.cli.main, kubernetes.config; from kubernetes.client import ApiClient, Configuration",
    ],
}
"""What is measured: the last one is all that `list` loads before its first request leaves."""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program once. Returns seconds on the wall, and seconds of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure every program and write the figures. Returns 1 where help takes longer than the limit."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "COLUMNS": "100"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        found: dict[str, Figure] = {}
        for name, command in PROGRAMS.items():
            measure(command, environment)  # compiles
            taken = [measure(command, environment) for _ in range(RUNS)]
            walls, processors = zip(*taken, strict=True)
            found[f"{name}_seconds"] = round(statistics.median(walls), 3)
            found[f"{name}_seconds_least"] = round(min(walls), 3)
            found[f"{name}_seconds_most"] = round(max(walls), 3)
            found[f"{name}_processor_seconds"] = round(statistics.median(processors), 3)
    found |= {"runs": RUNS, "limit_seconds": LIMIT_SECONDS, "load": round(os.getloadavg()[0], 1)}
    write_figures("cli-start", found)
    is_in_time = float(found["help_seconds"]) <= LIMIT_SECONDS
    if not is_in_time:
        print(f"help took {found['help_seconds']} s, more than {LIMIT_SECONDS} s, at a load of {found['load']}")
    return 0 if is_in_time else 1


if __name__ == "__main__":
    sys.exit(main())
