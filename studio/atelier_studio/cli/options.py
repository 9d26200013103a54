"""The words that verbs share: each option spelled, explained and completed once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from atelier_contract import names
from atelier_studio.cli import completing
from atelier_studio.cli.output import Output


class DryRun(StrEnum):
    """What `--dry-run` takes."""

    CLIENT = "client"
    SERVER = "server"


NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace. Default: the context's own.", rich_help_panel="Cluster"),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", help="Context of the kubeconfig. Default: the current one.", rich_help_panel="Cluster"),
]
OutputOption = Annotated[
    Output | None, typer.Option("--output", "-o", help="Print the object, or more columns, instead of the usual.")
]
StoreEndpointOption = Annotated[
    str | None,
    typer.Option(
        "--store-endpoint",
        envvar=names.ENV_STORE_ENDPOINT,
        rich_help_panel="Cluster",
        help="Address of the store as reached from here, where it is not the cluster's own.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    DryRun | None,
    typer.Option("--dry-run", help="client: only say what would be sent. server: let the API server check it too."),
]

JobArgument = Annotated[str, typer.Argument(help="Name of the TrainingJob.", autocompletion=completing.complete_job)]
CheckpointsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names of checkpoints, as `kubectl atelier checkpoints JOB` shows them; the step alone will do.",
        autocompletion=completing.complete_checkpoint,
    ),
]
DatasetArgument = Annotated[
    str, typer.Argument(help="Name of the Dataset.", autocompletion=completing.complete_dataset)
]
