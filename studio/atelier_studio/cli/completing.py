"""Names for the Tab key: jobs, checkpoints, datasets and templates of the namespace that is being typed about.

A shell waits while these run, and shows whatever they print: they never fail and never say anything.
"""

from __future__ import annotations

from collections.abc import Iterator

import typer

from atelier_studio.actions.tables import read_state, read_status
from atelier_studio.edges.cluster import DATASET, TEMPLATE, TRAINING_JOB, Cluster, Kind, Object
from atelier_studio.errors import StudioError

GONE = ("Deleted", "Lost")
"""Checkpoint states of which nothing can be asked any more."""


def complete_job(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the TrainingJobs whose names begin so, each with its state."""
    return [
        (body["metadata"]["name"], read_state(read_status(body))[0])
        for body in _list_quietly(context, TRAINING_JOB)
        if body["metadata"]["name"].startswith(incomplete)
    ]


def complete_dataset(context: typer.Context, incomplete: str) -> list[str]:
    """Return the Datasets whose names begin so."""
    return list(_list_names(context, DATASET, incomplete))


def complete_template(context: typer.Context, incomplete: str) -> list[str]:
    """Return the TrainingTemplates whose names begin so."""
    return list(_list_names(context, TEMPLATE, incomplete))


def complete_checkpoint(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the checkpoints of the job that was typed before that are still there, each with its held-out loss."""
    job = context.params.get("job")
    body = next((one for one in _list_quietly(context, TRAINING_JOB) if one["metadata"]["name"] == job), {})
    return [
        (row.name, f"loss {row.held_out_loss}" if row.held_out_loss else row.state)
        for row in read_status(body).checkpoints or ()
        if row.name.startswith(incomplete) and row.state not in GONE
    ]


def _list_names(context: typer.Context, kind: Kind, incomplete: str) -> Iterator[str]:
    for body in _list_quietly(context, kind):
        name = str(body["metadata"]["name"])
        if name.startswith(incomplete):
            yield name


def _list_quietly(context: typer.Context, kind: Kind) -> list[Object]:
    try:
        return Cluster(context.params.get("namespace"), context.params.get("context")).list(kind)
    except StudioError:
        return []
