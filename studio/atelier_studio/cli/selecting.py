"""The verbs that decide what is kept: select, deselect, finalize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

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
from atelier_studio.errors import BadRequest

BestOption = Annotated[bool, typer.Option("--best", help="The checkpoint with the lowest held-out loss.")]
LastOption = Annotated[bool, typer.Option("--last", help="The checkpoint of the highest step.")]
OnlyOption = Annotated[bool, typer.Option("--only", help="Keep these alone: take back whatever was selected before.")]


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
    body = cluster.get(TRAINING_JOB, job)
    wanted = _gather(body, checkpoints, best=best, last=last)
    before = tables.read_spec(body).selection
    kept = set(before.checkpoints if before else ()) - set(wanted)
    _change(cluster, body, add=wanted, remove=sorted(kept) if only else (), output=output, dry_run=dry_run)


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
    body = cluster.get(TRAINING_JOB, job)
    _change(
        cluster,
        body,
        remove=_gather(body, checkpoints, best=best, last=last),
        output=output,
        dry_run=dry_run,
    )


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
    patch = selection.build_selection(spec.selection, status, finalize=True)
    kept = patch["spec"]["selection"]["checkpoints"]
    for line in selection.describe_finalize(job, spec, status, kept):
        say_aside(line)
    if dry_run is None:
        ask_to_go_on("Finalize?", yes=yes)
        _refuse_other_selection(job, spec.selection, tables.read_spec(cluster.get(TRAINING_JOB, job)).selection)
    sentence = f"{job} publishes {', '.join(kept)}; `kubectl atelier watch {job}` shows how it goes"
    send_patch(cluster, job, patch, sentence, output=output, dry_run=dry_run)


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


def _change(
    cluster: Cluster,
    body: Object,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    output: Output | None,
    dry_run: DryRun | None,
) -> None:
    job = body["metadata"]["name"]
    patch = selection.build_selection(
        tables.read_spec(body).selection, tables.read_status(body), add=add, remove=remove
    )
    sentence = "selected: " + (", ".join(patch["spec"]["selection"]["checkpoints"]) or "nothing")
    send_patch(cluster, job, patch, sentence, output=output, dry_run=dry_run)
