"""Installing what was published in an InvokeAI server: the second half of `publish`, which never undoes the first.

In: `spec.publish.invokeAI`, the token that is mounted for it, and the published files. Out: whether all of them are
there, and a sentence. The server downloads from the bucket by links that lapse; from a volume it can take nothing.
Whatever goes wrong here is told and ends nothing: the models are published in any case.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from atelier_contract.architectures import Architecture
from atelier_contract.manifests import ModelFile
from atelier_contract.names import KEY_INVOKEAI_TOKEN
from atelier_contract.publishing import InvokeAiSpec
from atelier_materials.errors import AtelierError
from atelier_materials.invokeai.errors import ServerUnreachable
from atelier_materials.invokeai.installing import Installation, ModelToInstall, install_models
from atelier_materials.invokeai.published import LINK_SECONDS, describe_published
from atelier_materials.invokeai.server import InvokeAiServer
from atelier_materials.store.patience import Patience, Unanswered
from atelier_materials.store.s3_store import S3Store
from atelier_trainer.edges.home import Home
from atelier_trainer.settings import TrainerSettings

SERVER_PATIENCE_SECONDS = 120.0
"""For a server that does not answer: it may be starting; a run's end does not wait longer for it."""
ADVICE = "see whether InvokeAI runs and can be reached from this namespace (a NetworkPolicy can forbid it)"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedFile:
    """A published weights file."""

    key: str
    file: ModelFile


@dataclass(frozen=True)
class InstallResult:
    """What became of all of them."""

    installed: bool
    message: str


def install_published(
    settings: TrainerSettings,
    home: Home,
    asked: InvokeAiSpec,
    *,
    architecture: Architecture,
    published: Sequence[PublishedFile],
    patience: Patience,
) -> InstallResult:
    """Install published files in an InvokeAI server, and tell how it went; never raises for the server's sake.

    Args:
        settings: of this pod; the token is read from what it mounts.
        home: the namespace's store.
        asked: which server.
        architecture: of the base model.
        published: the files.
        patience: with a server that does not answer.
    """
    if not isinstance(home.store, S3Store):
        return InstallResult(
            False,
            "published in the store; not installed in InvokeAI: it downloads by links, and this store is a volume. "
            "Mount the volume in InvokeAI and import models/ there, or keep the store in a bucket",
        )
    token = settings.read_token(KEY_INVOKEAI_TOKEN)
    if asked.credentials_secret_ref is not None and not token:
        secret = asked.credentials_secret_ref.name
        return InstallResult(
            False, f"not installed in InvokeAI: Secret {secret} has no key {KEY_INVOKEAI_TOKEN}; put the token there"
        )
    try:
        models = [_describe(home.store, one, architecture) for one in published]
        with InvokeAiServer(asked.url, token) as server:
            _wait_for_server(server, patience)
            done = install_models(server, models)
    except AtelierError as error:
        log.warning("not installed in InvokeAI: %s", error)
        return InstallResult(False, f"published in the store; not installed in InvokeAI: {error}")
    return tell_result(asked.url, done)


def tell_result(url: str, done: Sequence[Installation]) -> InstallResult:
    """Return the sentence of installs: what is missing first, since a condition's message is cut at its end."""
    missing = [f"{one.name}: {one.became} ({one.detail})" for one in done if not one.is_there]
    counts = ", ".join(f"{count} {became}" for became, count in Counter(one.became for one in done).items())
    if missing:
        return InstallResult(False, f"not all models are in InvokeAI at {url}: {'; '.join(missing)}. In all: {counts}")
    return InstallResult(True, f"in InvokeAI at {url}: {counts}")


def _describe(store: S3Store, published: PublishedFile, architecture: Architecture) -> ModelToInstall:
    link = store.presign(published.key, LINK_SECONDS)
    return describe_published(store, published.key, published.file, architecture, (link,))


def _wait_for_server(server: InvokeAiServer, patience: Patience) -> None:
    def ask_once() -> None:
        try:
            server.read_version()
        except ServerUnreachable as error:
            raise Unanswered(str(error)) from error

    seconds = min(patience.seconds, SERVER_PATIENCE_SECONDS)
    replace(patience, seconds=seconds, advice=ADVICE).wait_for(ask_once)
