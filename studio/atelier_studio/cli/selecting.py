"""The verbs that decide what is kept: select, deselect, finalize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from atelier_contract.reasons import State
from atelier_contract.training_job import SelectionSpec
from atelier_studio.actions import selection, tables
from atelier_studio.cli.asking import ask_to_go_on
from atelier_studio.cli.options import (
    CheckpointsArgument,
    ContextOption,
    DryRun,
    DryRunOption,
    JobArgument,
    NamespaceOption,
    OutputOption,
    YesOption,
)
from atelier_studio.cli.output import Output, say_aside
from atelier_studio.cli.sending import send_patch
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object
from atelier_studio.errors import BadRequest, ChangedMeanwhile, ClusterRefused

BestOption = Annotated[bool, typer.Option("--best", help="The checkpoint with the lowest held-out loss.")]
LastOption = Annotated[bool, typer.Option("--last", help="The checkpoint of the highest step.")]
OnlyOption = Annotated[bool, typer.Option("--only", help="Keep these alone: take back whatever was selected before.")]

MOST_TRIES = 5
"""Of writing a selection onto a job that changes meanwhile. A run reports about once in ten seconds."""


def select(
    job: JobArgument,
    checkpoints: CheckpointsArgument = None,
    *,
    best: BestOption = False,
    last: LastOption = False,
    only: OnlyOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Keep checkpoints. Nothing is deleted before `finalize`."""
    cluster = Cluster(namespace, context)

    def decide(body: Object) -> Object:
        wanted = _gather(body, checkpoints, best=best, last=last)
        before = tables.read_spec(body).selection
        others = set(before.checkpoints if before else ()) - set(wanted)
        return _build_patch(body, add=wanted, remove=others if only else ())

    _send(cluster, cluster.get(TRAINING_JOB, job), decide, _describe_selected, output=output, dry_run=dry_run)


def deselect(
    job: JobArgument,
    checkpoints: CheckpointsArgument = None,
    *,
    best: BestOption = False,
    last: LastOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Do not keep checkpoints after all."""
    cluster = Cluster(namespace, context)

    def decide(body: Object) -> Object:
        return _build_patch(body, remove=_gather(body, checkpoints, best=best, last=last))

    _send(cluster, cluster.get(TRAINING_JOB, job), decide, _describe_selected, output=output, dry_run=dry_run)


def finalize(
    job: JobArgument,
    *,
    yes: YesOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Publish the selection and, after the grace time, delete the other checkpoints. Asks first."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    spec, status = tables.read_spec(body), tables.read_status(body)
    state = tables.read_state(status)[0]
    refuse_early(job, state)
    kept = _list_kept(_build_patch(body, finalize=True))
    for line in selection.describe_finalize(job, spec, status, kept):
        say_aside(line)
    if dry_run is None:
        ask_to_go_on("Finalize?", yes=yes)

    def decide(now: Object) -> Object:
        _refuse_other_selection(job, spec.selection, tables.read_spec(now).selection)
        return _build_patch(now, finalize=True)

    def describe(patch: Object) -> str:
        return f"{job} publishes {', '.join(_list_kept(patch))}; `kubectl atelier watch {job}` shows how it goes"

    _send(cluster, body, decide, describe, output=output, dry_run=dry_run)


def refuse_early(job: str, state: str) -> None:
    """Refuse to finalize a run that has not ended well.

    Raises:
        BadRequest: says what the run is doing and what to do first.
    """
    if state == State.FAILED:
        raise BadRequest(
            f"{job} has failed, and a failed run is not finalized: mend the cause and `kubectl atelier retry {job}`, "
            f"or `kubectl atelier clone {job} NEW --start-from CHECKPOINT`"
        )
    if state == State.FINALIZED:
        raise BadRequest(f"{job} is finalized already: `kubectl atelier download {job}` brings its models here")
    if state not in {State.AWAITING_SELECTION, State.PUBLISHING, State.COLLECTING}:
        raise BadRequest(
            f"{job} is not over yet ({state}): wait for it with `kubectl atelier watch {job}`, or end it now with "
            f"`kubectl atelier stop {job}`"
        )


def _refuse_other_selection(job: str, shown: SelectionSpec | None, now: SelectionSpec | None) -> None:
    """Refuse to finalize what was not shown: the whole list is written, and would take out what another has put in.

    Raises:
        BadRequest: somebody else has selected or deselected since.
    """
    if now != shown:
        raise BadRequest(
            f"somebody has changed the selection of {job} meanwhile, and nothing was done: `kubectl atelier "
            f"finalize {job}` shows what is selected now"
        )


def _gather(body: Object, words: Sequence[str] | None, *, best: bool, last: bool) -> list[str]:
    status = tables.read_status(body)
    names = selection.read_names(words or ())
    names += [selection.pick_best(status)] if best else []
    names += [selection.pick_last(status)] if last else []
    if not names:
        raise BadRequest("name checkpoints, or use --best or --last: `kubectl atelier checkpoints JOB` shows them")
    return list(dict.fromkeys(names))


def _build_patch(body: Object, **change: Any) -> Object:
    """Return the merge patch for a TrainingJob as it is. Keywords: of `selection.build_selection`."""
    return selection.build_selection(tables.read_spec(body).selection, tables.read_status(body), **change)


def _list_kept(patch: Object) -> list[str]:
    kept: list[str] = patch["spec"]["selection"]["checkpoints"]
    return kept


def _describe_selected(patch: Object) -> str:
    return "selected: " + (", ".join(_list_kept(patch)) or "nothing")


def _send(
    cluster: Cluster,
    body: Object,
    decide: Callable[[Object], Object],
    describe: Callable[[Object], str],
    *,
    output: Output | None,
    dry_run: DryRun | None,
) -> None:
    """Write what is decided on a TrainingJob, and decide anew where it has changed since it was read.

    The list of a selection is written whole: without that, one of two people who select at once would take out what the
    other has just put in.
    """
    job = body["metadata"]["name"]
    for _ in range(MOST_TRIES):
        patch = decide(body)
        try:
            send_patch(cluster, job, patch, describe(patch), output=output, dry_run=dry_run, seen=body)
        except ChangedMeanwhile:
            body = cluster.get(TRAINING_JOB, job)
        else:
            return
    raise ClusterRefused(
        f"{job} has changed {MOST_TRIES} times while its selection was to be written, and nothing was done: try again"
    )
