"""An InvokeAI server over HTTP: one method for each question that publishing asks.

In: an address, a token where the server wants one. Out: records, or an error of this room. There is no upload in the
API: a model comes by a path that the server sees, or by a link that it downloads. Redirects are not followed (a token
must not travel on), no proxy and no password file of the environment is used, every question has a time limit, and an
answer is read up to a limit. It may not know what is published or why.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import ValidationError

from atelier_contract.architectures import Architecture
from atelier_contract.dataset import ModelType
from atelier_contract.names import KEY_INVOKEAI_TOKEN
from atelier_materials.invokeai.errors import (
    AccessRefused,
    InvokeAiError,
    NotInvokeAi,
    RequestRefused,
    ServerUnreachable,
)
from atelier_materials.invokeai.records import BASES, TYPES, Answer, InstallJob, ModelList, ModelRecord, Version

MODELS = "/api/v2/models"
TIME_LIMIT = httpx.Timeout(60.0, connect=10.0)
"""Seconds for an answer: some questions read a model of gigabytes from a slow disk before they are answered."""
ANSWER_LIMIT_BYTES = 32 << 20
"""A record takes about 1.5 kB: a list of some twenty thousand models."""
REASON_LIMIT = 400
"""Characters of a server's reason that are passed on."""
SIGNED = re.compile(r"(https?://[^\s?'\"]+|/[^\s?'\"]*)\?[^\s'\")]+")
"""A link with what stands behind its question mark: the signature of a presigned one."""
Read = TypeVar("Read", bound=Answer)

# httpx logs each request's whole address, and an install's address holds the model's signed link.
logging.getLogger("httpx").setLevel(logging.WARNING)


class InvokeAiServer:
    """One server; close it, or use it in a `with` block.

    Args:
        url: its address, as `spec.publish.invokeAI.url`.
        token: sent as a bearer token; None: none is.
        transport: stands in for the network (tests alone).

    Raises:
        AccessRefused: the token holds what no token can.
    """

    def __init__(self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token = token.strip() if token else None
        if token and not (token.isascii() and token.isprintable()):
            raise AccessRefused(
                f"the token for InvokeAI at {self.url} holds signs that no token has: copy it again into "
                f"{KEY_INVOKEAI_TOKEN}, as plain letters"
            )
        # Uncompressed: 6.14.2 breaks off its empty answers (of DELETE) when it may compress them.
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(
            headers=headers,
            timeout=TIME_LIMIT,
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close its connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read_version(self) -> str:
        """Return the server's version.

        Raises:
            NotInvokeAi: something else answers there.
        """
        try:
            return self._ask(Version, "GET", "/api/v1/app/version").version
        except RequestRefused as error:
            raise NotInvokeAi(
                f"{self.url} is not an InvokeAI server: {error}. Give the server's own address"
            ) from error

    def list_models(self, kind: ModelType, architecture: Architecture) -> tuple[ModelRecord, ...]:
        """Return the installed models of a kind and family."""
        asked = {"model_type": TYPES[kind], "base_models": BASES[architecture]}
        return self._ask(ModelList, "GET", f"{MODELS}/", params=asked).models

    def start_install(self, source: str, described: Mapping[str, str]) -> InstallJob:
        """Ask the server to install a model.

        Args:
            source: a link that the server downloads, or a path as the server sees it; a file there is moved.
            described: name and description. (Trigger phrases are dropped here by 6.14: `change` holds.)
        """
        asked = {"source": source, "inplace": "false"}
        return self._ask(InstallJob, "POST", f"{MODELS}/install", params=asked, body=dict(described))

    def read_install(self, job: int) -> InstallJob:
        """Return how far an install is."""
        return self._ask(InstallJob, "GET", f"{MODELS}/install/{job}")

    def change(self, key: str, changes: Mapping[str, Any]) -> ModelRecord:
        """Change fields of a model's record."""
        return self._ask(ModelRecord, "PATCH", f"{MODELS}/i/{key}", body=dict(changes))

    def put_preview(self, key: str, png: bytes) -> None:
        """Give a model its preview picture."""
        self._send("PATCH", f"{MODELS}/i/{key}/image", files={"image": ("preview.png", png, "image/png")})

    def delete(self, key: str) -> None:
        """Take a model away: record, weights and preview."""
        self._send("DELETE", f"{MODELS}/i/{key}")

    def _ask(
        self, kind: type[Read], method: str, path: str, *, params: dict[str, str] | None = None, body: Any = None
    ) -> Read:
        content = self._send(method, path, params=params, json=body)
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise NotInvokeAi(
                f"{self.url}{path} answers otherwise than InvokeAI 6 does ({error.error_count()} fields are not as "
                "expected): give the address of an InvokeAI server"
            ) from error

    def _send(self, method: str, path: str, **asked: Any) -> bytes:
        """Send a question and return the whole answer.

        Raises:
            InvokeAiError: no answer, one that is too large, or one that says no.
        """
        try:
            with self._client.stream(method, f"{self.url}{path}", **asked) as answer:
                content = _read_limited(answer, self.url)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ServerUnreachable(
                f"InvokeAI at {self.url} does not answer ({type(error).__name__}): see whether it runs and can be "
                "reached from here"
            ) from error
        if answer.is_success:
            return content
        raise self._explain_refusal(answer, content, f"{method} {path}")

    def _explain_refusal(self, answer: httpx.Response, content: bytes, asked: str) -> InvokeAiError:
        status = answer.status_code
        if answer.is_redirect:
            other = str(answer.headers.get("location", "elsewhere")).partition("?")[0]
            return NotInvokeAi(
                f"{self.url} sends on to {other}: redirects are not followed, give the server's own address"
            )
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            had = "does not accept the token" if self._token else "wants a token"
            return AccessRefused(
                f"InvokeAI at {self.url} {had} (HTTP {status}): put a token of one of its administrators under "
                f"{KEY_INVOKEAI_TOKEN}; its tokens end after 1 or 7 days"
            )
        reason = self._hide(_read_detail(content) or answer.reason_phrase)
        return RequestRefused(f"{asked}: HTTP {status}, {reason}", status)

    def _hide(self, text: str) -> str:
        return hide_signatures(text.replace(self._token, "…") if self._token else text)


def hide_signatures(text: str) -> str:
    """Return a text with what stands behind the question mark of its links left out, and not too long."""
    hidden = SIGNED.sub(r"\1", text)
    return hidden if len(hidden) <= REASON_LIMIT else f"{hidden[:REASON_LIMIT]}…"


def _read_limited(answer: httpx.Response, url: str) -> bytes:
    content = bytearray()
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > ANSWER_LIMIT_BYTES:
            raise NotInvokeAi(f"{url} answers with more than {ANSWER_LIMIT_BYTES >> 20} MiB: is it an InvokeAI server?")
    return bytes(content)


def _read_detail(content: bytes) -> str:
    """Return the reason as FastAPI tells it; empty where there is none."""
    try:
        detail = json.loads(content).get("detail", "")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return detail if isinstance(detail, str) else json.dumps(detail)
