"""The verbs that show what a run has brought and take it home: checkpoints, samples, compare, download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier_contract.identity import name_checkpoint, slugify
from atelier_contract.reasons import State
from atelier_studio.actions import comparing, selection, sheets, tables
from atelier_studio.cli.options import (
    ContextOption,
    JobArgument,
    NamespaceOption,
    OutputOption,
    StoreEndpointOption,
)
from atelier_studio.cli.output import Output, say, say_aside, show, show_table
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object
from atelier_studio.edges.files import make_folder, write_file
from atelier_studio.edges.terminal_pictures import can_show_pictures, show_picture
from atelier_studio.errors import BadRequest

if TYPE_CHECKING:
    from atelier_studio.edges.results import RunResults
    from atelier_studio.edges.store import StudioStore

MOST_COLUMNS = 12
"""Of a sheet, unless all are asked for: more do not fit a screen."""
OVER = (State.AWAITING_SELECTION, State.PUBLISHING, State.COLLECTING, State.FINALIZED, State.FAILED, State.INVALID)
"""States in which no more pictures are to be expected."""
WIDE_CHECKPOINT_COLUMNS = (*tables.CHECKPOINT_COLUMNS, "SHA256")
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", help="Where the contact sheet goes. Default: JOB-samples.png in this folder.")
]
ShowOption = Annotated[
    bool | None,
    typer.Option(
        "--show/--no-show", help="Show the sheet in this terminal too. Default: where the terminal can show pictures."
    ),
]


def checkpoints(
    job: JobArgument, namespace: NamespaceOption = None, context: ContextOption = None, output: OutputOption = None
) -> None:
    """Show a job's checkpoints: loss, size, sample pictures, and what became of each."""
    body = Cluster(namespace, context).get(TRAINING_JOB, job)
    status = tables.read_status(body)
    if output in {Output.JSON, Output.YAML}:
        rows = [row.as_json() for row in status.checkpoints or ()]
        show(rows, output, (), ())
    elif output is Output.NAME:
        for row in status.checkpoints or ():
            say(row.name)
    elif not status.checkpoints:
        say_aside(f"{job} has no checkpoint yet: {tables.read_state(status)[1]}")
    elif output is Output.WIDE:
        digests = [row.sha256 for row in status.checkpoints]
        found = tables.build_checkpoint_rows(status)
        show_table(WIDE_CHECKPOINT_COLUMNS, [(*row, sha) for row, sha in zip(found, digests, strict=True)])
    else:
        show_table(tables.CHECKPOINT_COLUMNS, tables.build_checkpoint_rows(status))


def samples(
    job: JobArgument,
    *,
    sheet: SheetOption = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Also write every single picture into this folder.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help=f"Show every checkpoint, not only about {MOST_COLUMNS} of them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the training is over.")] = False,
    picture_shown: ShowOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
) -> None:
    """Build the contact sheet of a run: prompts down, steps across, what the base model draws first."""
    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    if wait:
        body = next(one for one in cluster.watch(TRAINING_JOB, job) if _is_over(one))
    status, results = tables.read_status(body), _open(cluster, body, store_endpoint)
    rows = {row.step: row for row in status.checkpoints or ()}
    chosen = [step for step, row in rows.items() if row.best or row.state in {"Selected", "Published"}]
    steps = sheets.choose_steps(list(results.checkpoints), chosen, len(results.checkpoints) if every else MOST_COLUMNS)
    found = results.read_samples(steps)
    columns = [
        sheets.Column(sheets.title_step(step), _note(results, step), found[step], is_marked=step in chosen)
        for step in steps
    ]
    if pictures is not None:
        _write_pictures(pictures, found)
    path = sheet or Path(f"{job}-samples.png")
    _finish_sheet(path, results.run.prompts, columns, picture_shown)
    left_out = len(results.checkpoints) - len(steps)
    more = f" ({left_out} steps between are left out: --all shows them)" if left_out else ""
    say(f"{path}: {len(results.run.prompts)} prompts by {len(columns)} steps{more}")


def compare(
    left: Annotated[str, typer.Argument(help="JOB, or JOB/CHECKPOINT; the best checkpoint where none is named.")],
    right: Annotated[str, typer.Argument(help="JOB, or JOB/CHECKPOINT.")],
    *,
    sheet: SheetOption = None,
    picture_shown: ShowOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
) -> None:
    """Put two checkpoints side by side, of one job or of two: pictures, losses, and the settings that differ."""
    cluster = Cluster(namespace, context)
    words = [comparing.read_side(word) for word in (left, right)]
    bodies = [cluster.get(TRAINING_JOB, job) for job, _ in words]
    statuses = [tables.read_status(body) for body in bodies]
    sides = [comparing.choose_side(job, name, status) for (job, name), status in zip(words, statuses, strict=True)]
    opened = [_open(cluster, body, store_endpoint) for body in bodies]
    prompts = comparing.join_prompts(opened[0].run.prompts, opened[1].run.prompts)
    columns = []
    base = opened[0].checkpoints.get(0)
    if base is not None:
        own = opened[0].run.prompts
        columns.append(comparing.build_column(sheets.BASE, "", prompts, own, opened[0].read_samples([0])[0]))
    for side, results in zip(sides, opened, strict=True):
        if side.step not in results.checkpoints:
            raise BadRequest(f"{name_checkpoint(side.step)} of {side.job} is no longer in the store: it was deleted")
        found = results.read_samples([side.step])[side.step]
        note = _note(results, side.step)
        columns.append(comparing.build_column(side.title, note, prompts, results.run.prompts, found))
    show_table(comparing.DIFFERENCE_COLUMNS, comparing.list_differences(sides, statuses))
    path = sheet or Path(f"{sides[0].job}-{sides[0].step}-{sides[1].job}-{sides[1].step}.png")
    _finish_sheet(path, prompts, columns, picture_shown)
    say(f"{path}: {len(prompts)} prompts side by side")


def download(
    job: JobArgument,
    *,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option("--checkpoint", help="A checkpoint that need not be published, to try it. May be repeated."),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder for the files.")] = Path(),
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
) -> None:
    """Download what a job has published, or single checkpoints; every file is compared with its recorded sha256."""
    from atelier_studio.edges import results as edge  # noqa: PLC0415  (boto3 comes with it)

    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    status = tables.read_status(body)
    if not checkpoint and not status.models:
        raise BadRequest(
            f"{job} has published nothing yet: select checkpoints and finalize first, or try one with "
            f"`kubectl atelier download {job} --checkpoint NAME`"
        )
    make_folder(to)
    if checkpoint:
        sides = {name: comparing.choose_side(job, name, status) for name in selection.read_names(checkpoint)}
        results = _open(cluster, body, store_endpoint)
        stem = slugify(results.run.model_name) or job
        for name, side in sides.items():
            if side.step not in results.checkpoints:
                raise BadRequest(f"{name} of {job} is no longer in the store: it was deleted")
            manifest = results.checkpoints[side.step].manifest
            for path in edge.download_checkpoint(results, manifest, to, f"{stem}-{name}"):
                say(f"{path}: {tables.format_size(path.stat().st_size)}, sha256 verified")
        return
    opened = _open_store(cluster, body, store_endpoint)
    run, slug = opened.layout.run(job, status.run_identity or ""), slugify(tables.read_spec(body).model_name)
    for model in status.models or ():
        for file in edge.list_published(opened.store, run, slug, model):
            path = to / file.name
            is_new = edge.download_verified(opened.store, file.key, file.sha256, path)
            checked = ", sha256 verified" if file.sha256 else ""
            say(
                f"{path}: {tables.format_size(path.stat().st_size)}{checked}" + ("" if is_new else ", was here already")
            )


def _is_over(body: Object) -> bool:
    return tables.read_state(tables.read_status(body))[0] in OVER


def _open_store(cluster: Cluster, body: Object, endpoint: str | None) -> StudioStore:
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (boto3 comes with it)

    return open_store(cluster, tables.read_spec(body).storage, endpoint=endpoint)


def _open(cluster: Cluster, body: Object, endpoint: str | None) -> RunResults:
    from atelier_studio.edges.results import open_results  # noqa: PLC0415  (boto3 comes with it)

    opened = _open_store(cluster, body, endpoint)
    return open_results(opened.store, opened.layout, body["metadata"]["name"], tables.read_status(body))


def _note(results: RunResults, step: int) -> str:
    loss = results.checkpoints[step].manifest.held_out_loss
    return "" if loss is None else f"loss {loss:.4f}"


def _finish_sheet(path: Path, prompts: list[str], columns: list[sheets.Column], is_shown: bool | None) -> None:
    """Write the sheet, and show it where that is asked for or possible."""
    sheet = sheets.draw_sheet(prompts, columns)
    write_file(path, sheets.encode_sheet(sheet))
    if is_shown or (is_shown is None and can_show_pictures()):
        show_picture(sheet)


def _write_pictures(folder: Path, found: dict[int, list[bytes | None]]) -> None:
    make_folder(folder)
    for step, pictures in found.items():
        for number, picture in enumerate(pictures):
            if picture is not None:
                write_file(folder / f"{name_checkpoint(step)}-prompt-{number + 1}.png", picture)
