"""The keys of the store: one place builds them and refuses anything else.

    <prefix>/<namespace>/owner.json
    …/datasets/<name>/{blobs,pushes,revisions,reports,cache}/…
    …/runs/<job>/<identity>/{run.json, outcome.json, final.json, attempts/<attempt>/{checkpoints,state}/<step>/…}
    …/models/<slug or job>/<job>-<identity8>/<stem>-<step>-<sha8>.safetensors
    …/base-models/<path>

A namespace is one prefix, so one bucket policy fences a tenant. Every writing, reading and deleting edge gets its keys
from here. This module knows strings only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atelier_contract.errors import KeyRefused
from atelier_contract.identity import name_checkpoint

PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")
HEX = re.compile(r"^[0-9a-f]{64}$")
WEIGHTS_SUFFIX = ".safetensors"
"""Of every file that holds weights, in the store and out of it: no other format is read or written."""
MAX_KEY_BYTES = 1024
"""Longest object key that S3 takes."""
IDENTITY_LENGTH = 16
"""Hex digits of the run identity in a key: 64 bits, ample for the runs of one job's name."""


def join_key(*parts: str) -> str:
    """Join checked parts to a key.

    Raises:
        KeyRefused: a part is empty, starts with a dot or dash, holds anything but letters, digits and `._-`, or the
            key would be longer than 1,024 bytes.
    """
    for part in parts:
        if not PART.fullmatch(part):
            raise KeyRefused(f"{part!r} cannot be part of a store key: use letters, digits, '.', '_' and '-'")
    key = "/".join(parts)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise KeyRefused(f"store key of {len(key.encode())} bytes: at most {MAX_KEY_BYTES} are allowed")
    return key


def split_path(path: str) -> tuple[str, ...]:
    """Split a user's relative path into parts, which `join_key` then checks."""
    return tuple(part for part in path.split("/") if part)


@dataclass(frozen=True)
class NamespaceLayout:
    """Keys of one namespace's store, below an optional prefix of the bucket."""

    namespace: str
    prefix: str = ""

    def key(self, *parts: str) -> str:
        """Return a key below this namespace. Raises KeyRefused for anything unsafe."""
        return join_key(*split_path(self.prefix), self.namespace, *parts)

    @property
    def owner(self) -> str:
        """Key of owner.json: the cluster and namespace whose store this is."""
        return self.key("owner.json")

    def dataset(self, name: str, *parts: str) -> str:
        """Return a key of a dataset."""
        return self.key("datasets", name, *parts)

    def blob(self, dataset: str, sha256: str) -> str:
        """Return the key of a picture or caption by its content."""
        if not HEX.fullmatch(sha256):
            raise KeyRefused(f"{sha256!r} is not a sha256")
        return self.dataset(dataset, "blobs", sha256)

    def blobs(self, dataset: str) -> str:
        """Return the prefix of all pictures and captions of a dataset, without a slash at the end."""
        return self.dataset(dataset, "blobs")

    def push(self, dataset: str, digest: str) -> str:
        """Return the key of a finished push."""
        return self.dataset(dataset, "pushes", f"{digest}.json")

    def pushes(self, dataset: str) -> str:
        """Return the prefix of all finished pushes of a dataset, without a slash at the end."""
        return self.dataset(dataset, "pushes")

    def revision(self, dataset: str, digest: str) -> str:
        """Return the key of an immutable revision manifest."""
        return self.dataset(dataset, "revisions", f"{digest}.json")

    def report(self, dataset: str, digest: str, suffix: str) -> str:
        """Return the key of an inspection's report.

        Args:
            dataset: what was inspected.
            digest: of the report's document.
            suffix: `.json` for the document, `.html` for its page.
        """
        return self.dataset(dataset, "reports", f"{digest}{suffix}")

    def cache(self, dataset: str, room: str) -> str:
        """Return the prefix of a part of a dataset's cache, without a slash at the end. It goes with the dataset."""
        return self.dataset(dataset, "cache", room)

    def cache_segment(self, dataset: str, room: str, sha256: str, suffix: str) -> str:
        """Return the key of a segment of a cache.

        Args:
            dataset: whose cache it is.
            room: its part: latents, texts or pictures.
            sha256: of the segment's bytes.
            suffix: `.bin` for the bytes, `.json` for the index that is written after them.
        """
        if not HEX.fullmatch(sha256):
            raise KeyRefused(f"{sha256!r} is not a sha256")
        return self.dataset(dataset, "cache", room, f"{sha256}{suffix}")

    def base_model(self, path: str) -> str:
        """Return the key of a base model's folder or file in the store (`spec.baseModel.source.storage.path`)."""
        return self.key(*split_path(path))

    def run(self, job: str, identity: str) -> RunLayout:
        """Return the keys of one run."""
        return RunLayout(self, job, identity)

    def runs(self, job: str) -> str:
        """Return the prefix of all runs of a job's name, without a slash at the end."""
        return self.key("runs", job)


@dataclass(frozen=True)
class RunLayout:
    """Keys of one run."""

    namespace: NamespaceLayout
    job: str
    identity: str

    def key(self, *parts: str) -> str:
        """Return a key below this run."""
        if not HEX.fullmatch(self.identity):
            raise KeyRefused(f"{self.identity!r} is not a run identity")
        return self.namespace.key("runs", self.job, self.identity[:IDENTITY_LENGTH], *parts)

    @property
    def manifest(self) -> str:
        """Key of run.json: what was asked and resolved, the base model's digest, the held-out list."""
        return self.key("run.json")

    @property
    def outcome(self) -> str:
        """Key of outcome.json: written last by training; the run is complete."""
        return self.key("outcome.json")

    @property
    def final(self) -> str:
        """Key of final.json: the tombstone of what was published and deleted."""
        return self.key("final.json")

    @property
    def collecting(self) -> str:
        """Key of collecting.json: what is being deleted; gone once it is."""
        return self.key("collecting.json")

    @property
    def execution(self) -> str:
        """Key of execution.json: how the first attempt computed."""
        return self.key("execution.json")

    def attempts(self) -> str:
        """Return the prefix of all attempts."""
        return self.key("attempts")

    def checkpoint(self, attempt: str, step: int, *parts: str) -> str:
        """Return a key of a checkpoint; its manifest is the part `checkpoint.json`."""
        return self.key("attempts", attempt, "checkpoints", name_checkpoint(step), *parts)

    def state(self, attempt: str, step: int, *parts: str) -> str:
        """Return a key of a state; its manifest is the part `state.json`."""
        return self.key("attempts", attempt, "state", name_checkpoint(step), *parts)

    def model(self, slug: str, step: int, sha256: str, suffix: str) -> str:
        """Return the key of a published file.

        Args:
            slug: the model's slug; the job's name is used when it is empty.
            step: the checkpoint's step.
            sha256: digest of the weights file: the same key again is the same file.
            suffix: `.safetensors`, `.json` or `.png`.
        """
        stem = slug or self.job
        folder = f"{self.job}-{self.identity[:8]}"
        return self.namespace.key("models", stem, folder, f"{stem}-{name_checkpoint(step)}-{sha256[:8]}{suffix}")

    def owns(self, key: str) -> bool:
        """Return whether a key lies below this run: nothing else is ever deleted for it."""
        return key.startswith(self.key() + "/") and ".." not in key.split("/")
