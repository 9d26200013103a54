"""The API server, as narrow as the operator needs it: plain JSON in and out, our own errors, each call counted.

`Cluster` is what the rest of the operator knows; `ApiServer` is the real one, over the official client's transport (so
that proxies, certificates and renewed tokens are its business); tests have another that passes the same tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from atelier_contract import names
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.resources import Resource
from atelier_operator.errors import AlreadyExists, Conflict, NotFound, Refused, Unavailable
from atelier_operator.model import Json

API_CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    names.GROUP: {
        "datasets": ("get", "list", "watch"),
        "datasets/status": ("patch",),
        "trainingjobs": ("get", "list", "patch", "watch"),
        "trainingjobs/status": ("patch",),
        "trainingtemplates": ("get", "list", "watch"),
        # No call: admission asks for these where an owner reference sets blockOwnerDeletion.
        "datasets/finalizers": ("update",),
        "trainingjobs/finalizers": ("update",),
    },
    "batch": {"jobs": ("create", "delete", "get", "list", "watch")},
    "": {
        "pods": ("get", "list", "watch"),
        "configmaps": ("create", "delete", "get", "patch"),
        "services": ("create", "get"),
        "events": ("create",),
        "namespaces": ("get",),
        "nodes": ("get",),
    },
    "networking.k8s.io": {"networkpolicies": ("create", "get")},
    "coordination.k8s.io": {"leases": ("create", "get", "update")},
}
"""Every right the operator uses, by API group and resource. The chart's roles are compared with it. Leases are asked
for in the operator's own namespace alone. There is no `secrets` here, and there shall be none."""

REQUEST_SECONDS = 10.0
"""Longest wait for one answer: shorter than a Lease lasts, so that a late write cannot outlive it by much."""
LIST_SECONDS = 60.0
"""Longest wait for one page of a list: five hundred whole objects on a busy API server."""
_PAGE_SIZE = 500
_MESSAGE_LENGTH = 900
"""Of an API server's refusal: what is shown beside it must fit a condition's 1,024 characters too."""


@dataclass(frozen=True)
class Page:
    """A part of a list."""

    items: list[Json]
    resource_version: str
    """Version of the whole list: the same on all its pages."""
    next_token: str
    """Empty: this is the last page."""


class Cluster(Protocol):
    """What the operator asks of an API server.

    All methods raise Unavailable when there is no answer, Refused when rights, policy, quota or schema say no,
    NotFound, and Conflict when a version or UID in the body is no longer the object's.
    """

    async def read(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return one object."""

    async def read_page(self, resource: Resource, namespace: str, *, selector: str, token: str) -> Page:
        """Return a page of the objects of a namespace (empty: of all) that carry the selector's labels."""

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """Create an object. Raises AlreadyExists when its name is taken."""

    async def replace(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Write a whole object over one of the version it carries."""

    async def merge(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Change the given fields of an object (JSON merge patch)."""

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Write the whole status by server-side apply, as the one manager of it."""

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete an object in the background, if it still has this UID (empty: whichever)."""


class ApiServer:
    """A real API server."""

    def __init__(self, client: ApiClient, metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics

    async def read(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return one object."""
        return await self._call("get", resource, resource.path(namespace, name))

    async def read_page(self, resource: Resource, namespace: str, *, selector: str, token: str) -> Page:
        """Return a page of a list, consistent with the other pages."""
        query: list[tuple[str, Any]] = [("limit", _PAGE_SIZE)]
        query += [("labelSelector", selector)] if selector else []
        query += [("continue", token)] if token else []
        found = await self._call("list", resource, resource.path(namespace), query=query)
        metadata = found["metadata"]
        return Page(found["items"] or [], metadata["resourceVersion"], metadata.get("continue", ""))

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """Create an object."""
        query = [("fieldManager", names.FIELD_MANAGER)]
        return await self._call("create", resource, resource.path(namespace), query=query, body=body)

    async def replace(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Write a whole object over one of the version it carries."""
        query = [("fieldManager", names.FIELD_MANAGER)]
        return await self._call("update", resource, resource.path(namespace, name), query=query, body=body)

    async def merge(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Change the given fields of an object."""
        query = [("fieldManager", names.FIELD_MANAGER)]
        content_type = "application/merge-patch+json"
        path = resource.path(namespace, name)
        return await self._call("patch", resource, path, query=query, body=body, content_type=content_type)

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        """Write the whole status by server-side apply."""
        query = [("fieldManager", names.FIELD_MANAGER), ("force", "true")]
        content_type = "application/apply-patch+yaml"
        path = resource.path(namespace, name, "status")
        return await self._call("patch", resource, path, query=query, body=body, content_type=content_type)

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete an object in the background."""
        body: Json = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._call("delete", resource, resource.path(namespace, name), body=body)

    async def _call(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: list[tuple[str, Any]] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        self._metrics.count_call(verb, resource.plural)
        headers = {"Accept": "application/json", "Content-Type": content_type}
        method, url, headers, sent, _ = await self._client.param_serialize(
            _METHODS[verb], path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        what = f"{verb} {path}"
        seconds = LIST_SECONDS if verb == "list" else REQUEST_SECONDS
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.call_api(method, url, headers, sent, _request_timeout=seconds)
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer to {what}: {error or 'it took too long'}") from error
        try:
            answer: Json = json.loads(data)
        except ValueError as error:
            raise Unavailable(f"the answer to {what} (HTTP {response.status}) is not JSON") from error
        if not 200 <= response.status < 300:
            _raise(what, response.status, answer, response.headers.get("Retry-After", ""))
        return answer


_METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}


def _raise(what: str, status: int, answer: Json, retry_after: str) -> NoReturn:
    """Raise the error that an API server's answer means."""
    message = f"{answer.get('message') or 'no reason given'}"[:_MESSAGE_LENGTH]
    if status == 404:
        raise NotFound(f"{what}: {message}")
    if status == 409 and answer.get("reason") == "AlreadyExists":
        raise AlreadyExists(f"{what}: {message}")
    if status == 409:
        raise Conflict(f"{what}: {message}")
    if status in {400, 403, 405, 413, 422}:
        raise Refused(message)
    seconds = float(retry_after) if retry_after.isdecimal() else 0.0
    raise Unavailable(f"{what}: HTTP {status}: {message}", retry_after_seconds=seconds)
