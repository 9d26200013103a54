"""`kubectl atelier`: list, checkpoints, watch, select, deselect, finalize, stop, suspend, resume, retry.

Reads words, prints tables, returns exit codes (0 done, 2 cannot be done, 3 refused by the cluster). Errors are one
sentence on standard error.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from atelier_contract import names
from atelier_studio.actions import selection, tables
from atelier_studio.edges.cluster import TrainingJobs
from atelier_studio.errors import StudioError

app = typer.Typer(
    name="kubectl-atelier", no_args_is_help=True, add_completion=True, help="Train image models inside your cluster."
)
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; default: the context's own.")]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]
Job = Annotated[str, typer.Argument(help="Name of the TrainingJob.")]
Checkpoints = Annotated[list[str], typer.Argument(help="Names of checkpoints, as `kubectl atelier checkpoints` shows.")]
WATCH_SECONDS = 2.0


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows under headings, plain when piped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@app.command("list")
def list_jobs(namespace: Namespace = None, context: Context = None) -> None:
    """Show the TrainingJobs of a namespace."""
    bodies = TrainingJobs(namespace, context).list()
    print_table(tables.JOB_COLUMNS, [tables.build_job_row(body) for body in bodies])


@app.command()
def checkpoints(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """Show a job's checkpoints."""
    status = tables.read_status(TrainingJobs(namespace, context).get(job))
    print_table(tables.CHECKPOINT_COLUMNS, tables.build_checkpoint_rows(status))


@app.command()
def watch(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """Follow a job until it waits for you, is finalized or has failed."""
    jobs = TrainingJobs(namespace, context)
    console = Console()
    last = ""
    while True:
        body = jobs.get(job)
        status = tables.read_status(body)
        state, message = tables.read_state(status)
        line = "  ".join(tables.build_job_row(body)[1:5])
        if line != last:
            console.print(line)
            last = line
        if state in {"AwaitingSelection", "Finalized", "Failed", "Invalid"}:
            console.print(message)
            raise typer.Exit(1 if state in {"Failed", "Invalid"} else 0)
        time.sleep(WATCH_SECONDS)


@app.command()
def select(job: Job, names_: Checkpoints, namespace: Namespace = None, context: Context = None) -> None:
    """Keep checkpoints."""
    change_selection(TrainingJobs(namespace, context), job, add=names_)


@app.command()
def deselect(job: Job, names_: Checkpoints, namespace: Namespace = None, context: Context = None) -> None:
    """Do not keep checkpoints after all."""
    change_selection(TrainingJobs(namespace, context), job, remove=names_)


@app.command()
def finalize(
    job: Job,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Publish the selection and delete the other checkpoints after the grace time."""
    jobs = TrainingJobs(namespace, context)
    body = jobs.get(job)
    spec, status = jobs.read_spec(body), tables.read_status(body)
    patch = selection.build_selection(spec.selection, status, finalize=True)
    typer.echo(selection.describe_finalize(status, patch["spec"]["selection"]["checkpoints"]))
    if not yes:
        typer.confirm("Go on?", abort=True)
    jobs.patch(job, patch)


def change_selection(
    jobs: TrainingJobs, job: str, *, add: list[str] | None = None, remove: list[str] | None = None
) -> None:
    """Write a changed selection and say what is selected now."""
    body = jobs.get(job)
    patch = selection.build_selection(
        jobs.read_spec(body).selection, tables.read_status(body), add=add or (), remove=remove or ()
    )
    jobs.patch(job, patch)
    typer.echo("selected: " + (", ".join(patch["spec"]["selection"]["checkpoints"]) or "nothing"))


@app.command()
def stop(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """End the training now and keep the current step's checkpoint. Cannot be taken back."""
    TrainingJobs(namespace, context).patch(job, {"spec": {"stop": True}})


@app.command()
def suspend(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """Give the GPU back and keep the state."""
    TrainingJobs(namespace, context).patch(job, {"spec": {"suspend": True}})


@app.command()
def resume(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """Go on after suspend."""
    TrainingJobs(namespace, context).patch(job, {"spec": {"suspend": False}})


@app.command()
def retry(job: Job, namespace: Namespace = None, context: Context = None) -> None:
    """Give a failed run another attempt from its last state."""
    asked_at = datetime.now(UTC).isoformat(timespec="seconds")
    patch = {"metadata": {"annotations": {names.ANNOTATION_RETRY_REQUESTED_AT: asked_at}}}
    TrainingJobs(namespace, context).patch(job, patch)


def main() -> None:
    """Run the command; print what went wrong as one sentence."""
    try:
        app()
    except StudioError as error:
        sys.stderr.write(f"kubectl atelier: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
