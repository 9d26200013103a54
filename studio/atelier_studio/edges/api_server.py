"""One way to ask the API server: with the person's kubeconfig, in JSON, errors as sentences.

The official client brings authentication (certificates, tokens, exec plugins, OIDC), proxies and TLS; its typed models
are not used, because ours are in the contract. It is imported when first needed: it takes as long to load as the rest
of the command together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from atelier_studio.actions.refusals import describe_refusal, read_answer
from atelier_studio.errors import AlreadyExists, ChangedMeanwhile, ClusterRefused, Forbidden, NotFound

CONNECT_SECONDS = 10
READ_SECONDS = 60
_REFUSALS = {403: Forbidden, 404: NotFound}
_CONFLICTS = {"AlreadyExists": AlreadyExists, "Conflict": ChangedMeanwhile}
"""What status 409 means, by the reason of the answer."""


class ApiServer:
    """The API server of a context of the person's kubeconfig.

    Raises:
        ClusterRefused: there is no usable kubeconfig, or no such context.
    """

    def __init__(self, context: str | None) -> None:
        """Read the kubeconfig; nothing is asked yet."""
        from kubernetes import config  # noqa: PLC0415  (slow import, see the module's docstring)
        from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415  (as above)
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  (as above)
        from yaml import YAMLError  # noqa: PLC0415  (as above)

        self._failures = (HTTPError, OSError)
        settings = Configuration()
        # A second try for a connection that broke; more would only make a wrong address slow to say.
        settings.retries = 1
        try:
            # The client itself reads the variable only once, when it is imported.
            where = os.environ.get("KUBECONFIG") or None
            contexts, active = config.list_kube_config_contexts(where)
            chosen = next((c for c in contexts if c["name"] == context), None) if context else active
            if chosen is None:
                raise ClusterRefused(
                    f"the kubeconfig has no context {context}: `kubectl config get-contexts` lists them"
                )
            config.load_kube_config(where, context=chosen["name"], client_configuration=settings)
        except (config.ConfigException, OSError, TypeError, YAMLError) as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ClusterRefused(
                f"no usable kubeconfig: {why}. Set KUBECONFIG, or log in to the cluster as its owner told you"
            ) from error
        self.address: str = settings.host
        self.namespace: str = chosen["context"].get("namespace") or "default"
        self._client = ApiClient(settings)

    def ask(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, content: str = ""
    ) -> dict[str, Any]:
        """Send one request and return the answer's document.

        Args:
            method: GET, POST or PATCH.
            path: below the server's address.
            body: a document to send.
            query: the parameters after `?`.
            content: media type of the body. Default: JSON.

        Raises:
            Forbidden: the person has no right to it.
            NotFound: there is nothing at that path.
            AlreadyExists: the object is there already.
            ChangedMeanwhile: the object has changed since the version that the body names.
            ClusterRefused: any other refusal, or no answer.
        """
        answer: dict[str, Any] = json.loads(self._send(method, path, query, body=body, content=content).read() or b"{}")
        return answer

    def ask_text(self, path: str, query: dict[str, str]) -> str:
        """Return an answer that is plain text. Raises as `ask`."""
        data: bytes = self._send("GET", path, query).read()
        return data.decode(errors="replace")

    def stream_lines(self, path: str, query: dict[str, str], timeout_seconds: int) -> Iterator[str]:
        """Yield the lines of an answer as they come, until the server ends it or is silent for the timeout.

        Raises:
            ClusterRefused: as `ask`. A connection that breaks later only ends the stream.
        """
        answer = self._send("GET", path, query, read_seconds=timeout_seconds).response
        rest = b""
        try:
            for piece in answer.stream(amt=None, decode_content=True):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        except self._failures:
            return
        finally:
            answer.close()
        if rest:
            yield rest.decode(errors="replace")

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        *,
        body: Any = None,
        content: str = "",
        read_seconds: int = READ_SECONDS,
    ) -> Any:
        headers = {"Accept": "application/json, */*", "Content-Type": content or "application/json"}
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*request, _request_timeout=(CONNECT_SECONDS, read_seconds))
        except self._failures as error:
            raise ClusterRefused(
                f"the API server at {self.address} does not answer ({type(error).__name__}): is the cluster running, "
                "and is this the right context? `kubectl config current-context` tells which is used"
            ) from error
        if 200 <= answer.status <= 299:
            return answer
        told = answer.read()
        raise _choose_refusal(answer.status, told)(describe_refusal(answer.status, told))


def _choose_refusal(status: int, told: bytes) -> type[ClusterRefused]:
    if status == 409:
        return _CONFLICTS.get(read_answer(told).get("reason", ""), ClusterRefused)
    return _REFUSALS.get(status, ClusterRefused)
