"""Figures of a benchmark: printed as a table, and kept as flat JSON beside what they were measured with."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Figure = float | int | str


def write_figures(name: str, figures: Mapping[str, Figure]) -> Path:
    """Print figures, and write them to `benchmarks/results/NAME.json` with commit, date and processor."""
    found: dict[str, Figure] = {
        **figures,
        "commit": read_commit(),
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": read_processor(),
        "cores": os.cpu_count() or 0,
    }
    width = max(len(key) for key in found)
    for key, value in found.items():
        print(f"{key:<{width}}  {value}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def read_commit() -> str:
    """Return the checkout's commit, with `-dirty` where tracked sources differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def read_processor() -> str:
    """Return the processor's name as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
