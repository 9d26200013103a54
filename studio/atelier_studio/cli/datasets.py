"""`kubectl atelier dataset`: push a folder, list what there is, read what the inspection found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier_contract.dataset import DatasetLayout
from atelier_materials.dataset.naming import escape_name
from atelier_studio.actions import datasets
from atelier_studio.actions.tables import format_size, read_dataset_status, read_state
from atelier_studio.cli.checking import check
from atelier_studio.cli.folders import name_folder, open_folder
from atelier_studio.cli.options import (
    ContextOption,
    DatasetArgument,
    NamespaceOption,
    OutputOption,
    StoreEndpointOption,
)
from atelier_studio.cli.output import Output, is_terminal, say, say_aside, show, show_table
from atelier_studio.cli.transferring import TransferMeter
from atelier_studio.edges.cluster import DATASET, Cluster, Object
from atelier_studio.edges.files import write_file
from atelier_studio.errors import BadRequest, Exit, NotFound, StudioError

if TYPE_CHECKING:
    from atelier_studio.edges.store import StudioStore

PAGE = "docs/how-to/prepare-pictures.md"
app = typer.Typer(no_args_is_help=True, help="Pictures to train on: check, push, list, read the report.")
app.command("check")(check)


@app.command("list")
def list_datasets(
    namespace: NamespaceOption = None, context: ContextOption = None, output: OutputOption = None
) -> None:
    """Show the Datasets of a namespace."""
    bodies = Cluster(namespace, context).list(DATASET)
    wide = output is Output.WIDE
    columns = datasets.WIDE_DATASET_COLUMNS if wide else datasets.DATASET_COLUMNS
    show(bodies, output, columns, [datasets.build_dataset_row(body, wide=wide) for body in bodies])


@app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures and captions, or an archive of one.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Of the Dataset. Default: the folder's own.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="What the pictures show.")] = None,
    layout: Annotated[
        DatasetLayout | None, typer.Option("--layout", help="How captions are told. Default: detected, and said.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="What is not in the folder (any more) goes out of the dataset.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait for the inspection and show it. Default: on a terminal."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
    output: OutputOption = None,
) -> None:
    """Send a folder's pictures and captions to the store, and have them inspected.

    Only what the store does not have is sent. Broken off at any moment, the same command goes on where it was. Where
    there is no Dataset of the name (any more), one begins: what was pushed to an earlier one is no part of it.
    """
    from atelier_studio.actions import pushing  # noqa: PLC0415  (Pillow and boto3 come with these; help needs neither)
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (as above)

    with open_folder(folder) as (root, left):
        for found in left:
            say_aside(f"left in the archive: {found.path} ({found.finding})")
        called = pushing.check_name(name) if name else pushing.name_dataset(name_folder(folder))
        cluster = Cluster(namespace, context)
        before = _find(cluster, called)
        opened = open_store(cluster, datasets.read_storage(before) if before else None, endpoint=store_endpoint)

        def replaces() -> bool:
            return replace or _find(cluster, called) is None

        is_new = _send(opened, called, root, before, layout, replaces=replaces, dry_run=dry_run)
    if dry_run:
        return
    before = before or _find(cluster, called)  # somebody else's, who pushed to the same name meanwhile
    told = datasets.build_spec(description, layout)
    body = _announce(cluster, before, called, told, is_new=is_new)
    if wait if wait is not None else is_terminal():
        body = _await_inspection(cluster, body)
    if output not in {None, Output.WIDE}:
        show(body, output, (), ())
    elif datasets.is_inspected(body):
        _tell(body)
    else:
        say(f"Dataset {called} is pushed and being inspected: kubectl atelier dataset show-report {called}")
    if datasets.is_inspected(body) and read_state(read_dataset_status(body))[0] != "Inspected":
        raise typer.Exit(Exit.FAILED)


@app.command("show-report")
def show_report(
    name: DatasetArgument,
    *,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report as one page with thumbnails into this file.")
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
    output: OutputOption = None,
) -> None:
    """Show what the last inspection found; `-o json` and `--html` fetch all of it, file by file, from the store."""
    cluster = Cluster(namespace, context)
    body = cluster.get(DATASET, name)
    if html is not None:
        write_file(html, _fetch_report(cluster, body, store_endpoint, ".html"))
        say_aside(f"written to {html}; it shows the pictures to whoever gets it")
    elif output is Output.JSON:
        say(_fetch_report(cluster, body, store_endpoint, ".json").decode())
    elif output in {None, Output.WIDE}:
        _tell(body)
    else:
        show(body, output, (), ())


def _fetch_report(cluster: Cluster, body: Object, endpoint: str | None, suffix: str) -> bytes:
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (see `push`)

    name = body["metadata"]["name"]
    opened = open_store(cluster, datasets.read_spec(body).storage, endpoint=endpoint)
    return opened.store.read(datasets.find_report(body, opened.layout.dataset(name), suffix))


def _send(
    opened: StudioStore,
    name: str,
    root: Path,
    before: Object | None,
    layout: DatasetLayout | None,
    *,
    replaces: Callable[[], bool],
    dry_run: bool,
) -> bool:
    """Send what of a folder belongs to a dataset; return whether it holds anything that no look was asked for."""
    from atelier_materials.dataset.layouts import detect_layout  # noqa: PLC0415  (see `push`)
    from atelier_studio.actions import pushing  # noqa: PLC0415  (as above)
    from atelier_studio.edges.dataset_push import list_missing, push_files, read_last_push  # noqa: PLC0415  (as above)
    from atelier_studio.edges.upload import Upload, list_folder  # noqa: PLC0415  (as above)

    found = {file.path: file for file in list_folder(root)}
    sorting = pushing.sort_paths(found)
    for line in pushing.describe_sorting(sorting):
        say_aside(line)
    files = [found[path] for path in sorting.going]
    if files:
        named = layout or (datasets.read_spec(before).layout if before else None)
        say_aside(f"read as {named or detect_layout(sorting.going)}; --layout names another layout")
    # Captions alone may follow pictures that were pushed before.
    if not files or (before is None and not any(map(pushing.is_picture, sorting.going))):
        raise BadRequest(f"{escape_name(str(root))} holds no pictures: name the folder that does", PAGE)
    size = sum(file.bytes for file in files)
    with TransferMeter(f"pushing {name}", len(files), size) as meter:
        upload = Upload(opened, meter)
        if dry_run:
            missing = list_missing(opened, name, files, upload)
        else:
            # Pushes outlive their Dataset. Without one, none of them is asked for: a killed first push is part of this.
            push = push_files(upload, name, files, datetime.now(UTC), replaces)
    if dry_run:
        left = sum(file.bytes for file in missing)
        say(f"would send {len(missing)} of {len(files)} files, {format_size(left)}; nothing was sent")
        return False
    say_aside(f"{len(files)} files: {meter.summary()}")
    # Whoever pushed last may have been killed before the request.
    return push is not None or before is None or not datasets.is_asked_since(before, read_last_push(opened, name))


def _announce(cluster: Cluster, before: Object | None, name: str, told: Object, *, is_new: bool) -> Object:
    """Create the Dataset, or have it looked at again where something has changed, and return it."""
    if before is None:
        return cluster.create(DATASET, datasets.build_dataset(name, told))
    if not is_new:
        say_aside(f"Dataset {name} holds exactly these files already")
        return cluster.patch(DATASET, name, {"spec": told}) if told else before
    return cluster.patch(DATASET, name, datasets.build_request(told, datetime.now(UTC)))


def _await_inspection(cluster: Cluster, body: Object) -> Object:
    name = body["metadata"]["name"]
    if not datasets.is_inspected(body):
        say_aside(f"the cluster inspects Dataset {name}; Ctrl-C ends the waiting, not the inspection")
    for changed in cluster.watch(DATASET, name):
        if datasets.is_inspected(changed):
            return changed
    raise StudioError(f"Dataset {name} is watched no more")  # a watch has no end


def _tell(body: Object) -> None:
    say(datasets.describe_dataset(body))
    rows = datasets.build_finding_rows(read_dataset_status(body))
    if rows:
        show_table(datasets.FINDING_COLUMNS, rows)


def _find(cluster: Cluster, name: str) -> Object | None:
    try:
        return cluster.get(DATASET, name)
    except NotFound:
        # Where Atelier is not installed, the list says so before anything is sent.
        cluster.list(DATASET)
        return None
