"""An API server in memory, for the operator's tests: versions, UIDs, preconditions, finalizers and label selectors.

It passes the same test class as the real edge (tests/operator/test_cluster_edge.py), so it cannot drift from it. It has
no schemas, no admission, no garbage collector and no watches: what needs those is tested on the real API server.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any

from atelier_operator.edges.cluster import Page
from atelier_operator.edges.resources import Resource
from atelier_operator.errors import AlreadyExists, Conflict, NotFound, OperatorError, Refused

Json = dict[str, Any]
CREATED_AT = "2026-11-23T00:00:00Z"
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_PAGE_SIZE = 2


class Crash(BaseException):
    """The operator is killed: no code of it may catch this."""


class FakeCluster:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.calls: list[tuple[str, str, str]] = []
        """Verb, plural and name of each call, in order."""
        self.before_call: Callable[[str, str, str], OperatorError | None] = lambda *_: None
        """May return an error that a call then ends in."""
        self.crash_after_writes = 0
        """After so many writes the operator is lost: the last is done, but never answered. 0: it lives."""
        self._versions = itertools.count(1000)
        self._uids = itertools.count(1)

    async def read(self, resource: Resource, namespace: str, name: str) -> Json:
        self._call("get", resource, name)
        return copy.deepcopy(self._find(resource, namespace, name))

    async def read_page(self, resource: Resource, namespace: str, *, selector: str, token: str) -> Page:
        self._call("list", resource, "")
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        found = [
            body
            for (plural, place, _), body in sorted(self.objects.items())
            if plural == resource.plural
            and (not namespace or namespace == place)
            and wanted.items() <= (body["metadata"].get("labels") or {}).items()
        ]
        start = int(token or 0)
        more = start + _PAGE_SIZE < len(found)
        items = copy.deepcopy(found[start : start + _PAGE_SIZE])
        return Page(items, str(next(self._versions)), str(start + _PAGE_SIZE) if more else "")

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        self._call("create", resource, name)
        if not _NAME.match(name):
            raise Refused(f"{name}: a lowercase RFC 1123 subdomain is wanted")
        if (resource.plural, namespace, name) in self.objects:
            raise AlreadyExists(name)
        made = copy.deepcopy(body)
        metadata = made["metadata"]
        metadata.update(uid=f"uid-{next(self._uids)}", creationTimestamp=CREATED_AT, generation=1)
        if resource.namespaced:
            metadata["namespace"] = namespace
        return self._answer(self._store(resource, namespace, made))

    async def replace(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        self._call("update", resource, name)
        self._check(self._find(resource, namespace, name), body)
        return self._answer(self._store(resource, namespace, copy.deepcopy(body)))

    async def merge(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        self._call("patch", resource, name)
        found = self._find(resource, namespace, name)
        self._check(found, body)
        return self._answer(self._store(resource, namespace, _merge(found, body)))

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        self._call("patch", resource, f"{name}/status")
        found = self._find(resource, namespace, name)
        self._check(found, body, "resourceVersion")  # of the rest of metadata, /status takes no notice
        if found.get("status") == body["status"]:
            return self._answer(found)
        return self._answer(self._store(resource, namespace, {**found, "status": copy.deepcopy(body["status"])}))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        self._call("delete", resource, name)
        found = self._find(resource, namespace, name)
        if uid and found["metadata"]["uid"] != uid:
            raise Conflict(f"{name} has another UID")
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = CREATED_AT
            self._store(resource, namespace, found)
        else:
            del self.objects[resource.plural, namespace, name]
        self._answer({})

    def _answer(self, body: Json) -> Json:
        """Return what a write made, unless the operator is lost meanwhile."""
        if self.crash_after_writes and len(self.list_writes()) == self.crash_after_writes:
            raise Crash
        return copy.deepcopy(body)

    def put(self, resource: Resource, body: Json) -> Json:
        """Put an object there as another client would, and return it as it is stored."""
        made = copy.deepcopy(body)
        made["metadata"].setdefault("uid", f"uid-{next(self._uids)}")
        made["metadata"].setdefault("creationTimestamp", CREATED_AT)
        return self._store(resource, made["metadata"].get("namespace", ""), made)

    def edit(self, resource: Resource, namespace: str, name: str, change: Json) -> Json:
        """Change an object as a user would."""
        return self._store(resource, namespace, _merge(self._find(resource, namespace, name), change))

    def list_writes(self) -> list[tuple[str, str, str]]:
        """Return the calls that changed something."""
        return [call for call in self.calls if call[0] not in {"get", "list"}]

    def _call(self, verb: str, resource: Resource, name: str) -> None:
        self.calls.append((verb, resource.plural, name))
        error = self.before_call(verb, resource.plural, name)
        if error is not None:
            raise error

    def _find(self, resource: Resource, namespace: str, name: str) -> Json:
        try:
            return self.objects[resource.plural, namespace, name]
        except KeyError:
            raise NotFound(f"{resource.plural} {namespace}/{name}") from None

    def _store(self, resource: Resource, namespace: str, body: Json) -> Json:
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(next(self._versions))
        key = (resource.plural, namespace, metadata["name"])
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.objects.pop(key, None)
        else:
            self.objects[key] = body
        return copy.deepcopy(body)

    @staticmethod
    def _check(found: Json, body: Json, *checked: str) -> None:
        for name in checked or ("uid", "resourceVersion"):
            wanted = body.get("metadata", {}).get(name)
            if wanted is not None and wanted != found["metadata"][name]:
                raise Conflict(f"{name} is {found['metadata'][name]} and not {wanted}")


def _merge(old: Json, change: Json) -> Json:
    merged = copy.deepcopy(old)
    for name, value in change.items():
        if isinstance(value, dict):
            merged[name] = _merge(merged.get(name) or {}, value)
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = copy.deepcopy(value)
    return merged
