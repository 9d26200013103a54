"""Taking a job's published models to where they are used: a folder of a tool, or an InvokeAI server.

In: the job as the cluster tells it, the opened store, and where to. Out: what became of each model. The same again
changes nothing. Nothing here changes the job or the store.

An InvokeAI server takes no uploads. One on this machine is offered a file of this machine, which it moves into its own
folder; every other one, and one on this machine that sees other files (a container, a forwarded port), is offered links
to the bucket: by the address that the cluster knows, then by the one that is used from here.
"""

from __future__ import annotations

import ipaddress
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from atelier_contract.architectures import Architecture
from atelier_contract.identity import read_step, slugify
from atelier_contract.layout import WEIGHTS_SUFFIX, RunLayout
from atelier_contract.manifests import ModelFile
from atelier_contract.training_job_status import ModelStatus
from atelier_materials.errors import ObjectMissing
from atelier_materials.invokeai.installing import Became, Installation, ModelToInstall, Waiting, install_models
from atelier_materials.invokeai.published import LINK_SECONDS, describe_published
from atelier_materials.invokeai.server import InvokeAiServer
from atelier_materials.store.checkpoints import first_of_each_step, list_checkpoints
from atelier_materials.store.s3_store import S3Store
from atelier_studio.actions.tables import Object, read_spec, read_status
from atelier_studio.edges.files import make_folder
from atelier_studio.edges.results import PublishedFile, download_verified, list_published
from atelier_studio.edges.store import StudioStore
from atelier_studio.errors import BadRequest

LOCAL_URL = "http://127.0.0.1:9090"
"""Where InvokeAI listens unless it is told otherwise."""


@dataclass(frozen=True)
class FolderTarget:
    """A folder of this machine, such as a tool's own folder of models."""

    path: Path


@dataclass(frozen=True)
class InvokeAiTarget:
    """An InvokeAI server."""

    url: str = LOCAL_URL
    token: str | None = None
    cluster_endpoint: str | None = None
    """Address of the store as the cluster knows it; None: the one that is used from here."""
    waiting: Waiting | None = None
    """How long to wait for its installs; None: as long as the materials think right."""

    @property
    def is_here(self) -> bool:
        """Whether its address is one of this machine."""
        host = urllib.parse.urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def publish(opened: StudioStore, body: Object, target: FolderTarget | InvokeAiTarget) -> list[Installation]:
    """Take what a job has published to a target; return what became of each model file.

    Raises:
        BadRequest: it has published nothing yet.
        ObjectMissing: a published file is gone from the store, or not what was published.
        InvokeAiError: the server does not answer, is none, or wants another token.
        StudioError: a local file cannot be written, or another of its name lies there.
    """
    status = read_status(body)
    job = body["metadata"]["name"]
    if not status.models:
        raise BadRequest(
            f"{job} has published nothing yet: select checkpoints and finalize first; `kubectl atelier download {job} "
            "--checkpoint NAME` brings one that is not published"
        )
    run = opened.layout.run(job, status.run_identity or "")
    spec = read_spec(body)
    slug = slugify(spec.model_name)
    files = [list_published(opened.store, run, slug, model) for model in status.models]
    if isinstance(target, FolderTarget):
        return [_copy(opened, listed, target.path) for listed in files]
    found = _read_model_files(opened, run, status.models)
    weights = [
        (published, file)
        for listed, model_files in zip(files, found, strict=True)
        for published, file in zip([f for f in listed if f.name.endswith(WEIGHTS_SUFFIX)], model_files, strict=True)
    ]
    return _install(opened, weights, spec.base_model.architecture, target)


def _copy(opened: StudioStore, listed: list[PublishedFile], folder: Path) -> Installation:
    """Write a model and what stands beside it into a folder; the weights' sha256 is compared."""
    make_folder(folder)
    new = [f.name for f in listed if download_verified(opened.store, f.key, f.sha256, folder / f.name)]
    became = Became.ALREADY_THERE if not new else Became.INSTALLED if len(new) == len(listed) else Became.UPDATED
    return Installation(listed[0].name.removesuffix(WEIGHTS_SUFFIX), became, ", ".join(new))


def _read_model_files(opened: StudioStore, run: RunLayout, models: list[ModelStatus]) -> list[list[ModelFile]]:
    """Return what the checkpoints' manifests say of each published model's files."""
    checkpoints = first_of_each_step(list_checkpoints(opened.store, run))
    found = []
    for model in models:
        stored = checkpoints.get(read_step(model.checkpoint))
        if stored is None:
            raise ObjectMissing(
                f"{model.checkpoint} of {run.job} is not in {opened.store.address} any more: publish its model to a "
                "folder and import it in InvokeAI by hand"
            )
        found.append(stored.manifest.files)
    return found


def _install(
    opened: StudioStore,
    weights: list[tuple[PublishedFile, ModelFile]],
    architecture: Architecture,
    target: InvokeAiTarget,
) -> list[Installation]:
    with tempfile.TemporaryDirectory(prefix="atelier-publish-") as folder:
        models: list[ModelToInstall] = []
        for published, file in weights:
            sources = _Sources(opened, published, file.sha256, target, Path(folder))
            models.append(describe_published(opened.store, published.key, file, architecture, sources))
        with InvokeAiServer(target.url, target.token) as server:
            return install_models(server, models, target.waiting)


@dataclass(frozen=True)
class _Sources:
    """The addresses of one file for a server, made when they are asked for: a model that is there is not fetched."""

    opened: StudioStore
    published: PublishedFile
    sha256: str
    target: InvokeAiTarget
    folder: Path

    def __iter__(self) -> Iterator[str]:
        """Yield a path of this machine where the server is on it, then links to the bucket."""
        if self.target.is_here:
            path = self.folder / self.published.name
            download_verified(self.opened.store, self.published.key, self.sha256, path)
            yield str(path)
        description = self.opened.description
        for endpoint in dict.fromkeys((self.target.cluster_endpoint or description.endpoint, description.endpoint)):
            store = S3Store(replace(description, endpoint=endpoint))
            yield store.presign(self.published.key, LINK_SECONDS)
