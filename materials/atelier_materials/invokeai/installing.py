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
    sources: tuple[str, ...]
    """Paths that the server may see and links that it may download, tried in this order."""
    description: str
    trigger_phrases: tuple[str, ...] = ()
    preview: bytes | None = None
    """PNG; None: none."""

    @property
    def mark(self) -> str:
        """What tells our description of this very file from any other."""
        return f"sha256 {self.sha256}"


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
    """How long to wait for an install, and with which clock."""

    limit_seconds: float = 900.0
    """Long enough for a LoRA of some GB over a home's line."""
    pause_seconds: float = 0.5
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def follow(self, server: InvokeAiServer, job: InstallJob) -> InstallJob:
        """Return an install when it is over, or as it is when the time is."""
        until = self.clock() + self.limit_seconds
        while not job.is_over and self.clock() < until:
            self.sleep(self.pause_seconds)
            job = server.read_install(job.id)
        return job


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
    given = list(models)
    embeddings = {model.name for model in given if model.kind == "Embedding"}
    return [install_model(server, _call_embeddings(model, embeddings), waiting or Waiting()) for model in given]


def install_model(server: InvokeAiServer, model: ModelToInstall, waiting: Waiting) -> Installation:
    """Install one model unless it is there, and fill in what is missing of its record."""
    try:
        found = find_record(server.list_models(model.kind, model.architecture), model)
        if found is not None:
            if not _may_be(found, model):
                return _refuse(model, f"another {found.type} of {found.file_size} bytes has this name there: rename it")
            filled = _fill_in(server, found, model)
            became = Became.UPDATED if filled else Became.ALREADY_THERE
            return Installation(model.name, became, ", ".join(filled), found.key)
        outcome, record = _bring(server, model, waiting)
        if record is not None:
            _fill_in(server, record, model)
    except RequestRefused as error:
        return _refuse(model, str(error))
    return outcome


def find_record(records: Iterable[ModelRecord], model: ModelToInstall) -> ModelRecord | None:
    """Return the record of this model, renamed or not, else one that has its name."""
    by_name = None
    for record in records:
        if model.mark in (record.description or "") or record.hash == f"sha256:{model.sha256}":
            return record
        if record.name == model.name:
            by_name = record
    return by_name


def _may_be(record: ModelRecord, model: ModelToInstall) -> bool:
    """Return whether a record can be of this file: its size, and its sha256 where the server keeps that."""
    other = record.hash.startswith("sha256:") and record.hash != f"sha256:{model.sha256}"
    return record.file_size == model.size_bytes and not other


def _bring(server: InvokeAiServer, model: ModelToInstall, waiting: Waiting) -> tuple[Installation, ModelRecord | None]:
    """Let the server take the file from the first address that it can take it from."""
    refusal = _refuse(model, "there is no address under which the server could take its file")
    for source in model.sources:
        try:
            job = server.start_install(source, {"name": model.name, "description": model.description})
        except RequestRefused as error:
            # A path that only we see looks to the server like no source at all.
            refusal = _refuse(model, str(error))
            continue
        job = waiting.follow(server, job)
        if not job.is_over:
            detail = f"the server is at it since {waiting.limit_seconds:.0f} s ({job.status}): publish again later"
            return Installation(model.name, Became.UNFINISHED, detail), None
        if job.config_out is None:
            refusal = _refuse(model, _explain(job))
            continue
        return _judge(server, model, job.config_out)
    return refusal, None


def _judge(
    server: InvokeAiServer, model: ModelToInstall, record: ModelRecord
) -> tuple[Installation, ModelRecord | None]:
    """Return what became of a file that the server took: it may have taken it for something else."""
    expected = (TYPES[model.kind], BASES[model.architecture], model.size_bytes)
    if (record.type, record.base, record.file_size) == expected:
        return Installation(model.name, Became.INSTALLED, key=record.key), record
    server.delete(record.key)
    detail = (
        f"the server took it for {record.type} of {record.base} with {record.file_size} bytes; it was removed again"
    )
    return _refuse(model, detail), None


def _fill_in(server: InvokeAiServer, record: ModelRecord, model: ModelToInstall) -> list[str]:
    """Give a record what it lacks; return the names of what was given."""
    changes: dict[str, Any] = {}
    told = record.description or ""
    if told != model.description and (not told or model.mark in told):
        changes["description"] = model.description
    known = set(record.trigger_phrases or ())
    if not known >= set(model.trigger_phrases):
        changes["trigger_phrases"] = sorted(known | set(model.trigger_phrases))
    if record.source.startswith(LINKS) and "?" in record.source:
        changes["source"] = record.source.partition("?")[0]  # the signature of a link is nobody's to read
    if changes:
        server.change(record.key, changes)
    filled = [name.replace("_", " ") for name in changes]
    if model.preview and not record.cover_image:
        server.put_preview(record.key, model.preview)
        filled.append("preview")
    return filled


def _call_embeddings(model: ModelToInstall, embeddings: set[str]) -> ModelToInstall:
    """Write trigger phrases that are embeddings as InvokeAI calls them."""
    phrases = tuple(f"<{phrase}>" if phrase in embeddings else phrase for phrase in model.trigger_phrases)
    return replace(model, trigger_phrases=phrases)


def _explain(job: InstallJob) -> str:
    reason = hide_signatures(job.error or f"its install ended as {job.status}")
    return f"{reason.rstrip('.')}. {PRIVATE_ADVICE}" if PRIVATE_ADDRESSES in (job.error or "") else reason


def _refuse(model: ModelToInstall, detail: str) -> Installation:
    return Installation(model.name, Became.REFUSED, detail)
