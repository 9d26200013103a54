"""The verb that takes published models to where they are used."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier_contract import names
from atelier_studio.actions import tables
from atelier_studio.cli.options import ContextOption, JobArgument, NamespaceOption, OutputOption, StoreEndpointOption
from atelier_studio.cli.output import Output, say, show
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object
from atelier_studio.errors import BadRequest, Exit

if TYPE_CHECKING:
    from atelier_studio.actions.publishing import InvokeAiTarget

INVOKEAI = "invokeai"
ADDRESS = re.compile(r"^https?://[^\s@]+$")
"""As the contract has it for `spec.publish.invokeAI.url`."""
COLUMNS = ("MODEL", "BECAME", "DETAIL")


def publish(
    job: JobArgument,
    *,
    to: Annotated[
        str, typer.Option("--to", help=f"`{INVOKEAI}`, or a folder (`./{INVOKEAI}` for one that is called so).")
    ],
    url: Annotated[
        str | None,
        typer.Option("--url", help="Address of InvokeAI. Default: the job's own, then this machine's port 9090."),
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    store_endpoint: StoreEndpointOption = None,
) -> None:
    """Take a job's published models into InvokeAI or a folder; the same again changes nothing."""
    from atelier_studio.actions import publishing  # noqa: PLC0415  (boto3 and httpx come with it)
    from atelier_studio.edges.store import open_store  # noqa: PLC0415  (boto3 comes with it)

    cluster = Cluster(namespace, context)
    body = cluster.get(TRAINING_JOB, job)
    opened = open_store(cluster, tables.read_spec(body).storage, endpoint=store_endpoint)
    if to == INVOKEAI:
        target: publishing.FolderTarget | InvokeAiTarget = _find_server(
            cluster, body, url, cluster.read_secret(opened.description.secret_name).get(names.KEY_ENDPOINT)
        )
    else:
        target = publishing.FolderTarget(Path(to))
    done = publishing.publish(opened, body, target)
    rows = [(one.name, str(one.became), one.detail or "-") for one in done]
    if output is Output.NAME:
        say("\n".join(one.name for one in done))
    else:
        told = [{"name": one.name, "became": str(one.became), "detail": one.detail} for one in done]
        show(told, output, COLUMNS, rows)
    if not all(one.is_there for one in done):
        raise typer.Exit(Exit.FAILED)


def _find_server(cluster: Cluster, body: Object, url: str | None, cluster_endpoint: str | None) -> InvokeAiTarget:
    """Return the server that is meant, with the token for it: the job's own Secret serves the job's own server."""
    from atelier_studio.actions.publishing import LOCAL_URL, InvokeAiTarget  # noqa: PLC0415  (httpx comes with it)

    if url is not None and not ADDRESS.match(url):
        raise BadRequest(f"--url {url!r} is no address of a server: write it like {LOCAL_URL}, without a user's name")
    asked = tables.read_spec(body).publish
    named = asked.invoke_ai if asked else None
    token = os.environ.get(names.ENV_INVOKEAI_TOKEN)
    if named is not None and named.credentials_secret_ref is not None and url in {None, named.url}:
        token = token or cluster.read_secret(named.credentials_secret_ref.name).get(names.KEY_INVOKEAI_TOKEN)
    return InvokeAiTarget(url or (named.url if named else LOCAL_URL), token, cluster_endpoint)
