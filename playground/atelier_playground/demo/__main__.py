"""`python -m atelier_playground.demo [--keep | --context NAME]`: what `make demo` runs."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from atelier_playground.cluster import CHECKOUT
from atelier_playground.demo.stage import NAMESPACE, Stage, open_borrowed_stage, open_kept_stage, open_own_stage
from atelier_playground.demo.store import open_store
from atelier_playground.demo.story import Story
from atelier_playground.errors import PlaygroundError


def main() -> int:
    """Tell the demo on the stage that the command line names. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m atelier_playground.demo", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--keep", action="store_true", help="leave the cluster up and print its KUBECONFIG line")
    where.add_argument("--context", help="use the cluster of this kubeconfig context instead")
    parser.add_argument("--namespace", default=NAMESPACE, help="with --context: a namespace with a storage Secret")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "build" / "demo", help="where pictures and models go")
    arguments = parser.parse_args()
    # Told to end, it ends in order: what it started goes with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    started = time.monotonic()
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        with _open_stage(arguments, console) as stage:
            Story(console, stage, open_store(stage.api, stage.namespace), arguments.output).tell()
            if stage.farewell:
                console.print(stage.farewell, highlight=False, soft_wrap=True)
    except PlaygroundError as error:
        console.print(f"[bold red]the demo stopped:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started has ended")
        return 130
    console.print(f"done in {time.monotonic() - started:.0f} s")
    return 0


def _open_stage(arguments: argparse.Namespace, console: Console) -> contextlib.AbstractContextManager[Stage]:
    def report(line: str) -> None:
        console.print(f"[dim]{line}[/]", highlight=False, soft_wrap=True)

    if arguments.context:
        return open_borrowed_stage(arguments.context, arguments.namespace, arguments.output)
    return open_kept_stage(report) if arguments.keep else open_own_stage(report)


if __name__ == "__main__":
    sys.exit(main())
