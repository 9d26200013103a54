"""A namespace of the cluster, seen and changed with the person's own rights.

In come kinds and names, out go plain documents. Nothing is done here that YAML and `kubectl` could not do.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from atelier_contract import dataset, names, template, training_job
from atelier_studio.actions.refusals import describe_missing
from atelier_studio.edges.api_server import ApiServer
from atelier_studio.errors import AlreadyExists, ClusterRefused, Forbidden, NotFound

Object = dict[str, Any]
Objects = list[Object]
Names = list[str]

WATCH_SECONDS = 300
"""How long one watch lasts before it is asked again; API servers end them after some minutes anyway."""
PATIENCE_SECONDS = 120
"""How long a watch goes on trying while the API server does not answer: a control plane's restart takes about one."""
RETRY_SECONDS = 2.0
LOG_SILENCE_SECONDS = 3600
"""How long a followed log may be silent: a long epoch on a slow machine says nothing."""
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Kind:
    """One of our kinds.

    Attributes:
        name: as in YAML. Example: TrainingJob.
        plural: as in addresses. Example: trainingjobs.
        namespaced: whether its objects belong to namespaces.
    """

    name: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str, name: str = "") -> str:
        """Return the address of its objects, or of one of them."""
        room = f"namespaces/{namespace}/" if self.namespaced else ""
        return f"/apis/{names.API_VERSION}/{room}{self.plural}" + (f"/{name}" if name else "")


TRAINING_JOB = Kind(training_job.KIND, training_job.PLURAL)
DATASET = Kind(dataset.KIND, dataset.PLURAL)
TEMPLATE = Kind(template.KIND, template.PLURAL, namespaced=False)


class Cluster:
    """A namespace of a cluster.

    Args:
        namespace: None: the context's own.
        context: of the kubeconfig. None: the current one.

    Raises:
        ClusterRefused: there is no usable kubeconfig, or no such context.
    """

    def __init__(self, namespace: str | None, context: str | None) -> None:
        """Read the kubeconfig; nothing is asked yet."""
        self._server = ApiServer(context)
        self.namespace: str = namespace or self._server.namespace

    # Our kinds

    def get(self, kind: Kind, name: str) -> Object:
        """Return one object.

        Raises:
            NotFound: there is none of that name; the message proposes others.
            ClusterRefused: the API server's own sentences.
        """
        return self._ask("GET", kind, name)

    def list(self, kind: Kind) -> Objects:
        """Return all objects of a kind, by name. Raises as `get`."""
        items = self._ask("GET", kind)["items"]
        # Items of a list come without their kind, which whoever prints them needs.
        told = [{"apiVersion": names.API_VERSION, "kind": kind.name, **item} for item in items]
        return sorted(told, key=lambda item: str(item["metadata"]["name"]))

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object and return it. Unknown fields are refused.

        Raises:
            AlreadyExists: the name is taken.
            ClusterRefused: the API server's own sentences.
        """
        name = body["metadata"]["name"]
        try:
            return self._ask("POST", kind, body=body, query=_build_query(dry_run=dry_run))
        except AlreadyExists as error:
            raise AlreadyExists(
                f"there is a {kind.name} {name} in namespace {self.namespace} already: choose another name, or look at "
                f"it with `kubectl get {kind.plural} {name}`"
            ) from error

    def patch(
        self, kind: Kind, name: str, patch: Object, *, dry_run: bool = False, seen: Object | None = None
    ) -> Object:
        """Merge a patch into an object and return it.

        Args:
            kind: of the object.
            name: of the object.
            patch: the merge patch.
            dry_run: have it checked and change nothing.
            seen: the object as the patch was decided on. None: whatever it has become meanwhile.

        Raises:
            ChangedMeanwhile: the object is no longer what was seen; nothing was written.
            NotFound: there is none of that name.
            ClusterRefused: the API server's own sentences.
        """
        if seen is not None:
            patch = patch | {"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}}
        return self._ask("PATCH", kind, name, body=patch, query=_build_query(dry_run=dry_run), content=MERGE_PATCH)

    def watch(self, kind: Kind, name: str) -> Iterator[Object]:
        """Yield an object now and after each of its changes, without end.

        Watches end and API servers restart: it is asked again until it has not answered for `PATIENCE_SECONDS`.

        Raises:
            NotFound: there is none of that name, or it was deleted meanwhile.
            ClusterRefused: the API server has not answered for too long.
        """
        silent_since: float | None = None
        seen = ""
        while True:
            try:
                body = self.get(kind, name)
            except NotFound:
                raise
            except ClusterRefused:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > PATIENCE_SECONDS or not seen:
                    raise
                time.sleep(RETRY_SECONDS)
                continue
            silent_since = None
            if body["metadata"]["resourceVersion"] != seen:
                seen = body["metadata"]["resourceVersion"]
                yield body
            for changed in self._watch_once(kind, name, seen):
                seen = changed["metadata"]["resourceVersion"]
                yield changed

    def _watch_once(self, kind: Kind, name: str, version: str) -> Iterator[Object]:
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        try:
            for line in self._server.stream_lines(kind.path(self.namespace), query, WATCH_SECONDS + 30):
                event = json.loads(line)
                if event["type"] not in {"ADDED", "MODIFIED"}:
                    return  # deleted, or too old a version: the next get says which
                yield event["object"]
        except ClusterRefused:
            time.sleep(RETRY_SECONDS)

    # What is around them

    def read_secret(self, name: str) -> dict[str, str]:
        """Return a Secret's values, decoded. They are never printed.

        Raises:
            NotFound: there is no such Secret.
            ClusterRefused: the person may not read Secrets here.
        """
        try:
            secret = self._server.ask("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        except NotFound as error:
            raise NotFound(
                f"there is no Secret {name} in namespace {self.namespace}: it says where the namespace keeps its "
                "files; whoever set Atelier up can make it",
                error.page,
            ) from error
        return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}

    @cached_property
    def _namespace_object(self) -> Object:
        try:
            return self._server.ask("GET", f"/api/v1/namespaces/{self.namespace}")
        except NotFound as error:
            raise NotFound(
                f"there is no namespace {self.namespace}: `kubectl get namespaces` shows those there are"
            ) from error

    def namespace_uid(self) -> str:
        """Return the UID of the namespace: a store belongs to it, not to its name."""
        uid: str = self._namespace_object["metadata"]["uid"]
        return uid

    def cluster_uid(self) -> str | None:
        """Return the UID by which stores know the cluster (kube-system's), None where the person may not ask for it."""
        try:
            body = self._server.ask("GET", "/api/v1/namespaces/kube-system")
        except ClusterRefused:
            return None
        uid: str = body["metadata"]["uid"]
        return uid

    def pods(self, job: str) -> Objects:
        """Return the pods that serve a TrainingJob, oldest first."""
        selector = f"{names.LABEL_KIND}={training_job.KIND},{names.LABEL_OWNER}={job}"
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        items: Objects = self._server.ask("GET", path, query={"labelSelector": selector})["items"]
        return sorted(items, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def events(self, uid: str) -> Objects:
        """Return the events about an object, oldest first. They go away after about an hour."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        items: Objects = self._server.ask("GET", path, query={"fieldSelector": f"involvedObject.uid={uid}"})["items"]
        return sorted(items, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))

    def pod_log(self, pod: str, *, follow: bool = False, tail_lines: int | None = None) -> Iterator[str]:
        """Yield the lines of a pod's log.

        Args:
            pod: its name.
            follow: go on until the pod ends.
            tail_lines: begin so many lines before the end. None: with the first.

        Raises:
            NotFound: the pod is gone.
            ClusterRefused: the container has not started yet, or the log cannot be read.
        """
        query = {"container": names.CONTAINER}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        if follow:
            yield from self._server.stream_lines(path, {**query, "follow": "true"}, LOG_SILENCE_SECONDS)
        else:
            yield from self._server.ask_text(path, query).splitlines()

    def _ask(
        self,
        method: str,
        kind: Kind,
        name: str = "",
        *,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content: str = "",
    ) -> Object:
        """Ask for objects of a kind; what is not there is told by name."""
        path = kind.path(self.namespace, name)
        try:
            return self._server.ask(method, path, body, query=query, content=content)
        except (NotFound, Forbidden) as error:
            if not self._is_installed(kind):
                raise NotFound(
                    f"this cluster knows no {kind.plural}.{names.GROUP}: Atelier is not installed in it, or this is "
                    "another cluster than you think (`kubectl config current-context`)"
                ) from error
            if isinstance(error, Forbidden) or not name:
                raise
            where = self.namespace if kind.namespaced else None
            raise NotFound(describe_missing(kind.name, name, where, self._list_names(kind))) from error

    def _is_installed(self, kind: Kind) -> bool:
        """Return whether the cluster serves a kind. Everybody may ask that; of what is not there all is forbidden."""
        try:
            served = self._server.ask("GET", f"/apis/{names.API_VERSION}")["resources"]
        except NotFound:
            return False
        return any(one["name"] == kind.plural for one in served)

    def _list_names(self, kind: Kind) -> Names:
        try:
            items = self._server.ask("GET", kind.path(self.namespace))["items"]
        except ClusterRefused:
            return []
        return [str(item["metadata"]["name"]) for item in items]


def _build_query(*, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": names.STUDIO_FIELD_MANAGER, "fieldValidation": "Strict"}
    return {**query, "dryRun": "All"} if dry_run else query
