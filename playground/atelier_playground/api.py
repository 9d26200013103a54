"""The API server as the playground's owner sees it: objects in, objects out, and facts waited for.

A small synchronous client of one kubeconfig that `ControlPlane` wrote. It learns the paths of kinds from the server's
own discovery, so custom kinds need no code here. It knows nothing of what the objects mean.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atelier_playground.errors import ApiError, WaitedTooLong

Object = dict[str, Any]

_ANSWER_SECONDS = 30
_POLL_SECONDS = 0.2
_FIELD_OWNER = "atelier-playground"


class Api:
    """One user's way to one API server.

    Args:
        kubeconfig: a file as `ControlPlane` writes it: JSON, one cluster, one user with a token.
    """

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._address = urllib.parse.urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self._credentials = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(self._address, timeout=_ANSWER_SECONDS, context=self._trust)

    def request(self, method: str, path: str, body: Object | None = None, content_type: str | None = None) -> Any:
        """Ask the server for a path.

        Returns:
            The JSON answer, or text where the answer is no JSON.

        Raises:
            ApiError: the server refused.
        """
        connection = self._connect()
        headers = {**self._credentials, "Content-Type": content_type or "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        document = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
        if answer.status >= 400:
            words = document if isinstance(document, str) else document.get("message", text)
            reason = "" if isinstance(document, str) else document.get("reason", "")
            raise ApiError(answer.status, reason, f"{method} {path}: {answer.status} {words}")
        return document

    def path(self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """The path of a kind's collection, or of one object.

        Raises:
            ApiError: the server knows no such kind (status 404).
        """
        plural, is_namespaced = self._find_kind(api_version, kind)
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        scope = f"/namespaces/{namespace or 'default'}" if is_namespaced else ""
        return f"{root}{scope}/{plural}" + (f"/{name}" if name else "")

    def _find_kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._kinds:
            root = "/api/" if "/" not in api_version else "/apis/"
            for one in self.request("GET", root + api_version)["resources"]:
                if "/" not in one["name"]:
                    self._kinds[api_version, one["kind"]] = (one["name"], one["namespaced"])
        if (api_version, kind) not in self._kinds:
            raise ApiError(404, "NotFound", f"the server has no kind {kind} in {api_version}")
        return self._kinds[api_version, kind]

    def apply(self, document: Object, namespace: str | None = None) -> Object:
        """Apply one object on the server's side, taking over fields that others own.

        Args:
            document: the object.
            namespace: where a namespaced object goes that names no namespace itself.
        """
        metadata = document["metadata"]
        path = self.path(
            document["apiVersion"], document["kind"], metadata.get("namespace", namespace), metadata["name"]
        )
        query = f"?fieldManager={_FIELD_OWNER}&force=true"
        applied: Object = self.request("PATCH", path + query, document, "application/apply-patch+yaml")
        return applied

    def create(self, document: Object, namespace: str | None = None) -> Object:
        """Create one object; it is refused when there is one of its name."""
        namespace = document["metadata"].get("namespace", namespace)
        created: Object = self.request("POST", self.path(document["apiVersion"], document["kind"], namespace), document)
        return created

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object:
        """Read one object."""
        found: Object = self.request("GET", self.path(api_version, kind, namespace, name))
        return found

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Read one object; None when there is none."""
        try:
            return self.get(api_version, kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """List a namespace's objects of a kind, chosen by a label selector."""
        path = self.path(api_version, kind, namespace)
        query = f"?labelSelector={urllib.parse.quote(selector)}" if selector else ""
        items: list[Object] = self.request("GET", path + query)["items"]
        return items

    def patch(self, api_version: str, kind: str, name: str, change: Object, namespace: str | None = None) -> Object:
        """Merge a change into one object."""
        path = self.path(api_version, kind, namespace, name)
        changed: Object = self.request("PATCH", path, change, "application/merge-patch+json")
        return changed

    def delete(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Delete one object, in the background; nothing happens when there is none."""
        options: Object = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self.request("DELETE", self.path(api_version, kind, namespace, name), options)
        except ApiError as error:
            if error.status != 404:
                raise

    def read_logs(self, namespace: str, pod: str, container: str | None = None, **parameters: str) -> str:
        """Read a container's log through the API server, as `kubectl logs` does."""
        query = urllib.parse.urlencode({**({"container": container} if container else {}), **parameters})
        text: str = self.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}")
        return text


class ProxiedApi(Api):
    """The API server behind a `kubectl proxy` on this machine, which brings the person's own credentials.

    Args:
        port: where the proxy listens on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"
        self._credentials = {}
        self._kinds = {}

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=_ANSWER_SECONDS)


def wait_for(
    fact: Callable[[], Any], what: str, timeout_seconds: float = 60, describe: Callable[[], object] | None = None
) -> Any:
    """Wait until a fact is true, and return it.

    Args:
        fact: asked again and again; anything true ends the wait. What is not there, and a server that is too busy to
            answer, count as not yet.
        what: names the fact in the message.
        timeout_seconds: how long to wait.
        describe: asked for the message when the time is over.

    Raises:
        WaitedTooLong: the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        refusal: Exception | None = None
        found = None
        try:
            found = fact()
        except ApiError as error:
            if error.status not in {404, 429} and error.status < 500:
                raise
            refusal = error
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            refusal = error
        if found:
            return found
        if time.monotonic() > deadline:
            seen = "" if describe is None else f"; last seen: {describe()}"
            raise WaitedTooLong(f"{what}: not so after {timeout_seconds:.0f} s{seen}") from refusal
        time.sleep(_POLL_SECONDS)


def read_conditions(document: Object) -> dict[str, str]:
    """The conditions of an object: type → status."""
    conditions: Iterable[Object] = document.get("status", {}).get("conditions") or ()
    return {one["type"]: one["status"] for one in conditions}
