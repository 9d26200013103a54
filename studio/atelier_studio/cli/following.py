"""The verbs that follow a job while it runs: watch and logs."""

from __future__ import annotations

import typer

from atelier_contract.reasons import State
from atelier_studio.actions import tables
from atelier_studio.cli.options import ContextOption, JobArgument, NamespaceOption
from atelier_studio.cli.output import say
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster
from atelier_studio.errors import Exit

ENDED = (State.AWAITING_SELECTION, State.FINALIZED, State.FAILED, State.INVALID)


def watch(job: JobArgument, namespace: NamespaceOption = None, context: ContextOption = None) -> None:
    """Follow a job until it waits for you, is finalized or has failed."""
    last = ""
    for body in Cluster(namespace, context).watch(TRAINING_JOB, job):
        status = tables.read_status(body)
        state, message = tables.read_state(status)
        line = "  ".join(tables.build_job_row(body)[1:6])
        if line != last:
            say(line)
            last = line
        if state in ENDED:
            say(message)
            raise typer.Exit(Exit.FAILED if state in {State.FAILED, State.INVALID} else Exit.DONE)
