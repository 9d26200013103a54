"""`kubectl_complete-atelier`: the Tab key after `kubectl atelier`, where kubectl itself completes.

kubectl runs this program with the words typed so far, the unfinished one last, and reads a proposal a line, each with
an explanation after a tab, then a directive: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Sequence

from atelier_studio.cli.main import app

PROGRAM = "kubectl-atelier"
NO_FILES, FILES = 4, 0
"""Directives of kubectl's completion: propose nothing else, or propose files."""


def main() -> None:
    """Print proposals for the words of the command line."""
    sys.stdout.write(complete(sys.argv[1:]))


def complete(words: Sequence[str]) -> str:
    """Return the proposals for words typed after `kubectl atelier`, as kubectl reads them."""
    *done, unfinished = words or [""]
    # The way in which the plugin's own completion for the fish shell is asked: the one form that has explanations.
    line = shlex.join([PROGRAM, *done]) + " " + unfinished
    asked = {
        "_KUBECTL_ATELIER_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            app(prog_name=PROGRAM)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    proposals = [proposal for proposal in said.getvalue().splitlines() if proposal]
    return "\n".join([*proposals, f":{NO_FILES if proposals else FILES}"]) + "\n"
