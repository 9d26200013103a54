"""A repository of the Hugging Face hub as a shelf: the only thing of the trainer that leaves the cluster.

It is opened only where the user asked for it (`spec.baseModel.source.huggingFace`), pinned to a commit. The image is
offline otherwise; the library's switch is turned for the length of a call and turned back. Nothing is executed from a
repository: its files are checked and read like those of any other source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

# The package exports these two lazily, which type checkers do not see.
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # no stub

from atelier_materials.errors import ObjectMissing
from atelier_materials.store.patience import Patience, Unanswered
from atelier_materials.store.protocol import CHUNK_BYTES, Content, StoredObject
from atelier_trainer.errors import BaseModelUnusable

Result = TypeVar("Result")
TIMEOUT_SECONDS = 60
SERVER_ERROR_STATUS = 500
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429


class HubShelf:
    """One commit of a repository, read-only."""

    def __init__(
        self,
        repository: str,
        revision: str,
        token: str | None,
        patience: Patience | None = None,
        endpoint: str | None = None,
    ) -> None:
        self._repository = repository
        self._revision = revision
        self._token = token or False  # False: a token that lies around elsewhere is not drawn in
        self._patience = patience or Patience()
        self._endpoint = endpoint

    @property
    def address(self) -> str:
        """What to call it in messages."""
        return f"{self._repository}@{self._revision[:8]} of the Hugging Face hub"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield what lies below `prefix/`, sorted by path. The hub tells no times: 0."""

        def list_once() -> list[StoredObject]:
            tree = HfApi(self._endpoint, token=self._token).list_repo_tree(
                self._repository, recursive=True, revision=self._revision
            )
            return [StoredObject(entry.path, entry.size, 0.0) for entry in tree if isinstance(entry, RepoFile)]

        start = f"{prefix}/" if prefix else ""
        found = self._ask("list", list_once)
        yield from sorted((entry for entry in found if entry.key.startswith(start)), key=lambda entry: entry.key)

    def head(self, key: str) -> StoredObject | None:
        """Return what a listing would tell of a path, or None where nothing lies."""
        return next((entry for entry in self.list("") if entry.key == key), None)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a small file's bytes, or a part of them."""
        headers = {} if length is None else {"Range": f"bytes={start}-{start + length - 1}"}
        parts: list[bytes] = []

        def read_once() -> bytes:
            parts.clear()
            self._stream(key, headers, parts.append)
            return b"".join(parts)

        return self._ask(f"read {key}", read_once)

    def digest(self, key: str) -> Content:
        """Read a file to its end and return what it is."""
        return self._ask(f"read {key}", lambda: self._stream(key, {}, lambda _: None))

    def fetch(self, key: str, path: Path) -> Content:
        """Write a file's bytes to a local file, streaming."""

        def fetch_once() -> Content:
            with path.open("wb") as file:
                return self._stream(key, {}, file.write)

        return self._ask(f"read {key}", fetch_once)

    def _stream(self, key: str, headers: dict[str, str], take: Callable[[bytes], object]) -> Content:

        address = hf_hub_url(self._repository, key, revision=self._revision, endpoint=self._endpoint)
        sent = {**build_hf_headers(token=self._token), **headers}
        digest, size = hashlib.sha256(), 0
        with get_session().stream(
            "GET", address, headers=sent, follow_redirects=True, timeout=TIMEOUT_SECONDS
        ) as answer:
            hf_raise_for_status(answer)
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                take(chunk)
        return Content(digest.hexdigest(), size)

    def _ask(self, doing: str, operation: Callable[[], Result]) -> Result:
        def ask_once() -> Result:
            try:
                with _online():
                    return operation()
            except HfHubHTTPError as error:
                raise self._translate_status(error, doing) from error
            except httpx2.HTTPError as error:
                raise Unanswered(f"{self.address} did not answer ({type(error).__name__})") from error

        return self._patience.wait_for(ask_once)

    def _translate_status(self, error: HfHubHTTPError, doing: str) -> Exception:
        status = error.response.status_code
        if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR_STATUS:
            return Unanswered(f"{self.address} answers {status}")
        if status == NOT_FOUND and doing != "list":
            return ObjectMissing(f"could not {doing}: it is not in {self.address}")
        return BaseModelUnusable(
            f"{self.address} refuses to {doing} ({status}): check repository and revision, and for a gated model "
            "accept its terms and name a Secret with the key atelier-hf-token in tokenSecretRef"
        )


@contextmanager
def _online() -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
