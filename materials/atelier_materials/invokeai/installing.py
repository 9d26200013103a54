"""Installing models: the same call again changes nothing.

In: a server and models with the addresses under which it may find their files. Out: what became of each. A model is
recognised by its digest (in our description, or in the server's own hash), else by name and size; its file is sent only
where it is not there. What is missing of description, trigger phrases and preview is filled in; what a person wrote
in InvokeAI stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from atelier_contract.architectures import Architecture
from atelier_contract.dataset import ModelType
from atelier_materials.invokeai.errors import RequestRefused
from atelier_materials.invokeai.records import BASES, TYPES, InstallJob, ModelRecord
from atelier_materials.invokeai.server import InvokeAiServer, hide_signatures

LINKS = ("http://", "https://")
PRIVATE_ADDRESSES = "allow_private_download_urls"
"""InvokeAI's setting, named in its own error: without it, it downloads from no address of a private network."""
PRIVATE_ADVICE = f"set {PRIVATE_ADDRESSES}: true in its invokeai.yaml, or publish to a folder and import from there"


class Became(StrEnum):
    """What became of a model."""

    INSTALLED = "Installed"
    ALREADY_THERE = "AlreadyThere"
    UPDATED = "Updated"
    """It was there; something missing of its record was filled in."""
    REFUSED = "Refused"
    UNFINISHED = "Unfinished"
    """The server is still at it; publishing again tells the end."""


@dataclass(frozen=True)
class ModelToInstall:
    """A published model, and how an InvokeAI server gets it."""

    name: str
    """As InvokeAI lists it; an embedding is called by it in prompts, in angle brackets."""
    kind: ModelType
    architecture: Architecture
    sha256: str
    size_bytes: int
    sources: Iterable[str]
    """Paths that the server may see and links that it may download, tried in this order, and only where needed."""
    description: str
    trigger_phrases: tuple[str, ...] = ()
    preview: bytes | None = None
    """PNG; None: none."""

    @property
    def mark(self) -> str:
        """What tells our description of this very file from any other."""
        return f"sha256 {self.sha256}"

    def described(self, text: str) -> ModelToInstall:
        """Return it with a description that holds its mark, whether the text does or not."""
        return replace(self, description=text if self.mark in text else f"{text} {self.mark}".strip())


@dataclass(frozen=True)
class Installation:
    """What became of one model."""

    name: str
    became: Became
    detail: str = ""
    """What was filled in, or why the server refused, and what to do."""
    key: str = ""
    """InvokeAI's key of the model; empty where it is not installed."""

    @property
    def is_there(self) -> bool:
        """Whether the server has the model now."""
        return self.became not in {Became.REFUSED, Became.UNFINISHED}


@dataclass(frozen=True)
class Waiting:
    """How long to wait for the installs of one call, all together, and with which clock."""

    limit_seconds: float = 1800.0
    pause_seconds: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def install_models(
    server: InvokeAiServer, models: Iterable[ModelToInstall], waiting: Waiting | None = None
) -> list[Installation]:
    """Install models, one after the other, and return what became of each.

    Raises:
        ServerUnreachable: nobody answers.
        NotInvokeAi: something else answers.
        AccessRefused: the server wants a token, or another one.
    """
    server.read_version()
    waiting = waiting or Waiting()
    given = list(models)
    embeddings = {model.name for model in given if model.kind == "Embedding"}
    installer = _Installer(server, waiting, waiting.clock() + waiting.limit_seconds)
    return [installer.install(_call_embeddings(model, embeddings)) for model in given]


def find_record(records: Iterable[ModelRecord], model: ModelToInstall) -> ModelRecord | None:
    """Return the record of this model, renamed or not, else one that has its name."""
    by_name = None
    for record in records:
        if model.mark in (record.description or "") or record.hash == f"sha256:{model.sha256}":
            return record
        if record.name == model.name:
            by_name = record
    return by_name


@dataclass(frozen=True)
class _Installer:
    """One call's installs."""

    server: InvokeAiServer
    waiting: Waiting
    until: float
    """When the waiting ends, by its clock."""

    def install(self, model: ModelToInstall) -> Installation:
        """Install a model unless it is there, and fill in what is missing of its record."""
        try:
            found = find_record(self.server.list_models(model.kind, model.architecture), model)
            if found is None:
                outcome, found = self._bring(model)
            elif _may_be(found, model):
                outcome = Installation(model.name, Became.ALREADY_THERE, key=found.key)
            else:
                detail = f"another {found.type} of {found.file_size} bytes has this name there: rename it"
                return _refuse(model, detail)
        except RequestRefused as error:
            return _refuse(model, str(error))
        return outcome if found is None else self._complete(outcome, found, model)

    def _bring(self, model: ModelToInstall) -> tuple[Installation, ModelRecord | None]:
        """Let the server take the file from the first address that it can take it from."""
        refusal = _refuse(model, "there is no address under which the server could take its file")
        for source in model.sources:
            try:
                job = self.server.start_install(source, {"name": model.name, "description": model.description})
            except RequestRefused as error:
                # A path that only we see looks to the server like no source at all.
                refusal = _refuse(model, str(error))
                continue
            job = self._follow(job)
            if not job.is_over:
                detail = f"the server is still at it ({job.status}): publish again later"
                return Installation(model.name, Became.UNFINISHED, detail), None
            if job.config_out is not None:
                return self._judge(model, job.config_out)
            refusal = _refuse(model, _explain(job))
        return refusal, None

    def _follow(self, job: InstallJob) -> InstallJob:
        """Return an install when it is over, or as it is when the time is."""
        while not job.is_over and self.waiting.clock() < self.until:
            self.waiting.sleep(self.waiting.pause_seconds)
            job = self.server.read_install(job.id)
        return job

    def _judge(self, model: ModelToInstall, record: ModelRecord) -> tuple[Installation, ModelRecord | None]:
        """Return what became of a file that the server took: it may have taken it for something else."""
        expected = (TYPES[model.kind], BASES[model.architecture], model.size_bytes)
        if (record.type, record.base, record.file_size) == expected:
            return Installation(model.name, Became.INSTALLED, key=record.key), record
        self.server.delete(record.key)
        detail = f"the server took it for {record.type} of {record.base} with {record.file_size} bytes"
        return _refuse(model, f"{detail}; it was removed again"), None

    def _complete(self, outcome: Installation, record: ModelRecord, model: ModelToInstall) -> Installation:
        """Give a record what it lacks; tell of it where the model was there before."""
        filled: list[str] = []
        try:
            changes = find_changes(record, model)
            if changes:
                self.server.change(record.key, changes)
                filled += [name.replace("_", " ") for name in changes]
            if model.preview and not record.cover_image:
                self.server.put_preview(record.key, model.preview)
                filled.append("preview")
        except RequestRefused as error:
            return replace(outcome, detail=f"not all could be told of it: {error}")
        if filled and outcome.became is Became.ALREADY_THERE:
            return replace(outcome, became=Became.UPDATED, detail=", ".join(filled))
        return outcome


def find_changes(record: ModelRecord, model: ModelToInstall) -> dict[str, Any]:
    """Return the fields of a record that lack something of ours; what a person wrote there stays."""
    changes: dict[str, Any] = {}
    if not record.description:
        changes["description"] = model.description
    known = set(record.trigger_phrases or ())
    if not known >= set(model.trigger_phrases):
        changes["trigger_phrases"] = sorted(known | set(model.trigger_phrases))
    if record.source.startswith(LINKS) and "?" in record.source:
        changes["source"] = record.source.partition("?")[0]  # the signature of a link is nobody's to read
    return changes


def _may_be(record: ModelRecord, model: ModelToInstall) -> bool:
    """Return whether a record can be of this file: its size, and its sha256 where the server keeps that."""
    other = record.hash.startswith("sha256:") and record.hash != f"sha256:{model.sha256}"
    return record.file_size == model.size_bytes and not other


def _call_embeddings(model: ModelToInstall, embeddings: set[str]) -> ModelToInstall:
    """Write trigger phrases that are embeddings as InvokeAI calls them."""
    phrases = tuple(f"<{phrase}>" if phrase in embeddings else phrase for phrase in model.trigger_phrases)
    return replace(model, trigger_phrases=phrases)


def _explain(job: InstallJob) -> str:
    reason = hide_signatures(job.error or f"its install ended as {job.status}")
    return f"{reason.rstrip('.')}. {PRIVATE_ADVICE}" if PRIVATE_ADDRESSES in (job.error or "") else reason


def _refuse(model: ModelToInstall, detail: str) -> Installation:
    return Installation(model.name, Became.REFUSED, detail)
