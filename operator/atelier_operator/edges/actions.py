"""Performs actions on the cluster, each so that doing it twice is doing it once.

In comes an action and whom it is for; out goes the object's new version where the object itself was written. What was
written is given to the cache at once. It decides nothing: a namesake or a living twin that it meets goes into the cache
and is the next decision's business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from atelier_contract import names
from atelier_contract.base import digest_of
from atelier_contract.roles import Role
from atelier_operator import readings
from atelier_operator.cache import Cache
from atelier_operator.edges.cluster import Cluster
from atelier_operator.edges.resources import CONFIG_MAPS, EVENTS, JOBS, NETWORK_POLICIES, OWNERS, SERVICES, Resource
from atelier_operator.errors import AlreadyExists, Conflict, NotFound, Refused
from atelier_operator.model import (
    Action,
    CreateJob,
    DeleteConfigMap,
    DeleteJob,
    EmitEvent,
    Json,
    Key,
    Meta,
    SetFinalizer,
    WriteControl,
)

_REMEMBERED = 4096
"""Events said and control files written that are remembered; what falls out is at worst written once more."""
_EVENT_MESSAGE_LENGTH = 1024


class Actor:
    """Performs actions."""

    def __init__(self, cluster: Cluster, cache: Cache, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._clock = clock
        self._done: OrderedDict[str, str] = OrderedDict()

    async def perform(self, key: Key, meta: Meta, action: Action) -> str:
        """Perform an action.

        Args:
            key: the object it is for.
            meta: the object as observed, with the version of our own last write.
            action: what to do.

        Returns:
            The object's version afterwards.

        Raises:
            Refused: the API server does not take a child, or what belongs to it has a name that is another's.
            Conflict: the cluster is not as it was observed; look again.
            Unavailable: no answer.
        """
        match action:
            case CreateJob():
                await self._create_job(key, meta, action)
            case DeleteJob():
                await self._delete_job(meta, action)
            case DeleteConfigMap():
                await self._delete_config_map(meta, action.name)
            case WriteControl():
                await self._write_control(meta, action)
            case EmitEvent():
                await self._emit(key, meta, action)
            case SetFinalizer():
                return await self._set_finalizer(key, meta, present=action.present)
        return meta.resource_version

    async def _create_job(self, key: Key, meta: Meta, action: CreateJob) -> None:
        if (action.job["metadata"].get("labels") or {}).get(names.LABEL_ROLE) == Role.TRAIN:
            await self._refuse_twin(key, meta, action.job["metadata"]["name"])
        await self._create_or_same(CONFIG_MAPS, meta, action.config_map)
        if action.network_policy is not None:
            await self._create_or_same(NETWORK_POLICIES, meta, action.network_policy)
        if action.service is not None:
            await self._create_or_same(SERVICES, meta, action.service)
        try:
            created = await self._cluster.create(JOBS, meta.namespace, action.job)
        except AlreadyExists:
            created = await self._read_after_create(JOBS, meta, action.job["metadata"]["name"])
        self._cache.take(JOBS.kind, created)
        if not _is_same(created, action.job):
            self._cache.note_namesake(key, created)
            raise Conflict(
                f"job {action.job['metadata']['name']} exists and is not the one that was to be made"
            ) from None

    async def _refuse_twin(self, key: Key, meta: Meta, name: str) -> None:
        """Ask the API server itself whether another training Job of this object is alive: two would train at once.

        Everything else may be decided from the cache, because doing it twice harms nobody.
        """
        selector = ",".join(
            f"{label}={value}"
            for label, value in {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_KIND: key.kind,
                names.LABEL_OWNER_UID: meta.uid,
                names.LABEL_ROLE: Role.TRAIN.value,
            }.items()
        )
        page = await self._cluster.read_page(JOBS, meta.namespace, selector=selector, token="")
        for body in page.items:
            self._cache.take(JOBS.kind, body)
            job = readings.read_job(body)
            if job.name != name and job.deleted_at is None and not (job.complete or job.failed):
                raise Conflict(f"training job {job.name} is alive, {name} must wait for its end")

    async def _create_or_same(self, resource: Resource, meta: Meta, body: Json) -> None:
        try:
            await self._cluster.create(resource, meta.namespace, body)
        except AlreadyExists:
            found = await self._read_after_create(resource, meta, body["metadata"]["name"])
            if _is_same(found, body):
                return
            if not await self._replace_unused(resource, meta, body, found):
                raise Refused(
                    f"{resource.kind} {body['metadata']['name']} exists already and is not this object's: delete it, "
                    "or use another name"
                ) from None

    async def _replace_unused(self, resource: Resource, meta: Meta, body: Json, found: Json) -> bool:
        """Replace our own ConfigMap of an earlier input whose Job was never made; return whether that was so."""
        name, owners = body["metadata"]["name"], [readings.read_owner_uid(m["metadata"]) for m in (body, found)]
        if resource is not CONFIG_MAPS or owners[0] != owners[1]:
            return False
        with suppress(NotFound):
            await self._cluster.read(JOBS, meta.namespace, name)
            return False
        with suppress(NotFound):
            await self._cluster.delete(resource, meta.namespace, name, uid=found["metadata"]["uid"])
        try:
            await self._cluster.create(resource, meta.namespace, body)
        except AlreadyExists as error:
            raise Conflict(f"{resource.kind} {name} is being replaced: look again") from error
        return True

    async def _read_after_create(self, resource: Resource, meta: Meta, name: str) -> Json:
        try:
            return await self._cluster.read(resource, meta.namespace, name)
        except NotFound as error:
            raise Conflict(f"{resource.kind} {name} was there and is gone: look again") from error

    async def _delete_job(self, meta: Meta, action: DeleteJob) -> None:
        try:
            await self._cluster.delete(JOBS, meta.namespace, action.name, uid=action.uid)
        except NotFound:
            self._cache.drop(action.uid)
        except Conflict:
            # Another Job has the name by now: ours is gone.
            self._cache.drop(action.uid)
        else:
            self._cache.mark_deleting(action.uid, self._clock())

    async def _delete_config_map(self, meta: Meta, name: str) -> None:
        try:
            await self._cluster.delete(CONFIG_MAPS, meta.namespace, name)
        except NotFound:
            return

    async def _write_control(self, meta: Meta, action: WriteControl) -> None:
        text = action.control.to_bytes().decode()
        place = f"control {meta.uid} {action.config_map}"
        if self._done.get(place) == text:
            return
        try:
            found = await self._cluster.read(CONFIG_MAPS, meta.namespace, action.config_map)
            owner_uid = readings.read_owner_uid(found["metadata"])
            if owner_uid == meta.uid and found.get("data", {}).get(names.CONTROL_FILE) != text:
                body = {"metadata": {"uid": found["metadata"]["uid"]}, "data": {names.CONTROL_FILE: text}}
                await self._cluster.merge(CONFIG_MAPS, meta.namespace, action.config_map, body)
        except NotFound as error:
            raise Conflict(f"config map {action.config_map} is gone: look again") from error
        self._remember(place, text)

    async def _set_finalizer(self, key: Key, meta: Meta, *, present: bool) -> str:
        others = [name for name in meta.finalizers if name != names.FINALIZER]
        wanted = [*others, names.FINALIZER] if present else others
        if sorted(wanted) == sorted(meta.finalizers):
            return meta.resource_version
        resource = OWNERS[key.kind]
        body = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": wanted}}
        try:
            written = await self._cluster.merge(resource, meta.namespace, meta.name, body)
        except NotFound:
            return meta.resource_version
        self._cache.take(resource.kind, written)
        return str(written["metadata"]["resourceVersion"])

    async def _emit(self, key: Key, meta: Meta, action: EmitEvent) -> None:
        """Say something once. Its name follows from what it says, so that a restarted operator does not repeat it."""
        mark = digest_of(["event", meta.uid, action.type, action.reason, action.message])
        if mark in self._done:
            return
        event = build_event(key, meta, action, mark, self._clock())
        # Said already, or not to be said (a namespace that ends takes no Events): the status says it too.
        with suppress(AlreadyExists, Refused, NotFound):
            await self._cluster.create(EVENTS, meta.namespace, event)
        self._remember(mark, "")

    def _remember(self, place: str, what: str) -> None:
        self._done[place] = what
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)


def build_event(key: Key, meta: Meta, action: EmitEvent, mark: str, now: datetime) -> Json:
    """Return the Event that says something of an object."""
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{meta.name}.{mark[:16]}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": key.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": action.type,
        "reason": action.reason,
        "message": action.message[:_EVENT_MESSAGE_LENGTH],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def _is_same(found: Json, wanted: Json) -> bool:
    """Return whether an object serves the same owner and was made from the same input as the one wanted."""
    ours, theirs = wanted["metadata"], found["metadata"]
    digests = [(m.get("annotations") or {}).get(names.ANNOTATION_INPUT_DIGEST, "") for m in (ours, theirs)]
    return readings.read_owner_uid(ours) == readings.read_owner_uid(theirs) and digests[0] == digests[1]
