"""`kubectl atelier base-model`: bring models to train on into the namespace's store, and list those that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier_studio.cli.options import ContextOption, NamespaceOption, StoreEndpointOption
from atelier_studio.cli.output import say, say_aside, show_table
from atelier_studio.cli.transferring import TransferMeter
from atelier_studio.edges.cluster import Cluster

app = typer.Typer(no_args_is_help=True, help="Models to train on: push, list.")


@app.command("push")
def push(
    source: Annotated[Path, typer.Argument(help="Folder in the layout of diffusers, or one .safetensors file.")],
    *,
    path: Annotated[
        str | None, typer.Option("--path", help="Where it will lie. Default: base-models/ and the folder's name.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at it, and send nothing.")] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store_endpoint: StoreEndpointOption = None,
) -> None:
    """Send a base model to the store. Only safetensors are taken; nothing that lies there is replaced.

    Broken off at any moment, the same command goes on where it was.
    """
    from atelier_studio.actions import base_models  # noqa: PLC0415  (boto3 comes with these; help does not need it)
    from atelier_studio.edges.base_model_push import push_model, read_model  # noqa: PLC0415  (as above)
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (as above)
    from atelier_studio.edges.upload import Upload  # noqa: PLC0415  (as above)

    model, target = read_model(source), base_models.build_path(path, source.resolve().name)
    for line in model.left_behind:
        say_aside(line)
    size = sum(file.bytes for file in model.files)
    known = f"a base of {model.architecture}" if model.architecture else "of a family that its files do not tell"
    if dry_run:
        say(f"{source} is {known}: {len(model.files)} files would be sent to {target}; nothing was sent")
        return
    opened = open_store(Cluster(namespace, context), None, endpoint=store_endpoint)
    with TransferMeter(f"pushing {target}", len(model.files), size) as meter:
        push_model(Upload(opened, meter), target, model.files)
    say_aside(f"{len(model.files)} files: {meter.summary()}")
    say(f"{target} is {known}; jobs name it as spec.baseModel.source.storage.path, create as --base-model {target}")


@app.command("list")
def list_base_models(
    namespace: NamespaceOption = None, context: ContextOption = None, store_endpoint: StoreEndpointOption = None
) -> None:
    """Show the base models in the namespace's store."""
    from atelier_studio.actions import base_models  # noqa: PLC0415  (see `push`)
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (as above)

    opened = open_store(Cluster(namespace, context), None, endpoint=store_endpoint)
    room = opened.layout.key(base_models.ROOM)
    show_table(base_models.BASE_MODEL_COLUMNS, base_models.build_rows(opened.store.list(room), room))
