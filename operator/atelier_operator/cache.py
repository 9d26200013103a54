"""What the operator remembers of the cluster: the newest version seen of each watched object, small.

In come events, lists and the answers to our own writes; out come the keys that an event concerns, and what views are
built from. An older version never replaces a newer one, so our own writes are seen at once and a late event cannot undo
them. It makes no call and has no clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from atelier_contract.dataset import KIND as DATASET
from atelier_contract.roles import Role
from atelier_contract.template import KIND as TEMPLATE
from atelier_contract.training_job import KIND as TRAINING_JOB
from atelier_operator import readings
from atelier_operator.model import Json, Key, ObservedJob, ObservedPod
from atelier_operator.records import Child, Stored, build_child, load, store

_IndexT = TypeVar("_IndexT", Key, str)


class Cache:
    """The newest version seen of everything watched."""

    def __init__(self) -> None:
        self._objects: dict[Key, Stored] = {}
        self._templates: dict[str, Stored] = {}
        self._children: dict[str, Child] = {}
        self._of_key: defaultdict[Key, set[str]] = defaultdict(set)
        self._of_job: defaultdict[str, set[str]] = defaultdict(set)
        self._dying: dict[str, datetime] = {}

    def take(self, kind: str, body: Json, *, gone: bool = False) -> tuple[Key, ...]:
        """Take in one object as the API server showed it, and return the keys it concerns; none: nothing is new.

        Args:
            kind: kind of the object.
            body: the object.
            gone: it was deleted, and this is its last version.
        """
        match kind:
            case "Dataset":
                return self._take_dataset(body, gone=gone)
            case "TrainingJob":
                key = Key(TRAINING_JOB, body["metadata"].get("namespace", ""), body["metadata"]["name"])
                return (key,) if self._take_object(key, body, gone=gone) else ()
            case "TrainingTemplate":
                return self._take_template(body, gone=gone)
            case "Job" | "Pod":
                return self._take_child(kind, body, gone=gone)
        return ()

    def find(self, key: Key) -> Json | None:
        """Return an object of the user's, without what nobody reads; None: there is none."""
        return load(self._objects.get(key))

    def find_template(self, name: str) -> Json | None:
        """Return a template."""
        return load(self._templates.get(name))

    def find_jobs(self, key: Key) -> tuple[ObservedJob, ...]:
        """Return the Jobs that serve an object, or have its labels, each with its pods; oldest first."""
        found = [child.seen for uid in self._of_key.get(key, ()) if (child := self._children.get(uid))]
        jobs = [replace(job, pods=self._find_pods(job.uid)) for job in found if isinstance(job, ObservedJob)]
        return tuple(sorted(jobs, key=lambda job: (job.created_at, job.name)))

    def find_orphans(self, key: Key, uid: str) -> tuple[ObservedPod, ...]:
        """Return the training pods of the object with this UID whose Job is gone; oldest first."""
        found = [child for uid in self._of_key.get(key, ()) if (child := self._children.get(uid))]
        jobs = {child.seen.uid for child in found if isinstance(child.seen, ObservedJob)}
        orphans = [
            child.seen
            for child in found
            if isinstance(child.seen, ObservedPod)
            and child.seen.job_uid not in jobs
            and (child.owner_uid, child.role) == (uid, Role.TRAIN)
        ]
        return tuple(sorted(orphans, key=lambda pod: (pod.created_at, pod.name)))

    def note_namesake(self, key: Key, body: Json) -> None:
        """Remember a Job that has a name which one of an object's children should have."""
        metadata = body["metadata"]
        self._put(build_child(key, readings.read_job(body), metadata))

    def find_unwatched(self, key: Key) -> tuple[tuple[str, str], ...]:
        """Return name and UID of the noted namesakes that carry no label of ours: no event tells when they go."""
        found = [child for uid in self._of_key.get(key, ()) if (child := self._children.get(uid))]
        return tuple((child.seen.name, child.seen.uid) for child in found if not child.watched)

    def mark_deleting(self, uid: str, now: datetime) -> None:
        """Remember that we deleted a Job, until its end is seen: later news of it must not make it look alive."""
        child = self._children.get(uid)
        if child is not None and isinstance(child.seen, ObservedJob):
            self._dying[uid] = now
            self._put(replace(child, seen=replace(child.seen, deleted_at=child.seen.deleted_at or now)))

    def drop(self, uid: str) -> None:
        """Forget a Job or pod that is no more."""
        child = self._children.pop(uid, None)
        self._dying.pop(uid, None)
        if child is None:
            return
        _discard(self._of_key, child.key, uid)
        if isinstance(child.seen, ObservedPod):
            _discard(self._of_job, child.seen.job_uid, uid)

    def list_keys(self) -> Iterator[Key]:
        """Yield the key of every object that is looked after."""
        yield from tuple(self._objects)

    def versions(self, kind: str) -> dict[str, str]:
        """Return the version that is known of each object of a kind, by UID."""
        match kind:
            case "Job" | "Pod":
                wanted = ObservedJob if kind == "Job" else ObservedPod
                return {uid: child.version for uid, child in self._children.items() if isinstance(child.seen, wanted)}
            case "TrainingTemplate":
                return {stored.uid: stored.version for stored in self._templates.values()}
        return {stored.uid: stored.version for key, stored in self._objects.items() if key.kind == kind}

    def forget(self, kind: str, uid: str) -> tuple[Key, ...]:
        """Forget an object whose deletion was not seen, and return the keys this concerns."""
        if kind in {"Job", "Pod"}:
            child = self._children.get(uid)
            self.drop(uid)
            return (child.key,) if child else ()
        if kind == TEMPLATE:
            for name in [name for name, stored in self._templates.items() if stored.uid == uid]:
                del self._templates[name]
            return ()
        gone = [key for key, stored in self._objects.items() if stored.uid == uid]
        for key in gone:
            del self._objects[key]
        return tuple(gone)

    def forget_key(self, key: Key) -> None:
        """Forget an object that the API server says is gone."""
        self._objects.pop(key, None)

    def _take_object(self, key: Key, body: Json, *, gone: bool) -> bool:
        stored, known = store(body), self._objects.get(key)
        if gone:
            if known is not None and known.uid == stored.uid:
                del self._objects[key]
            return known is not None and known.uid == stored.uid
        if known is not None and not is_newer(stored.version, known.version):
            return False
        self._objects[key] = stored
        return True

    def _take_dataset(self, body: Json, *, gone: bool) -> tuple[Key, ...]:
        key = Key(DATASET, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        if not self._take_object(key, body, gone=gone):
            return ()
        return (key, *self._find_users(lambda job: key.name in job.datasets, key.namespace))

    def _take_template(self, body: Json, *, gone: bool) -> tuple[Key, ...]:
        stored, name = store(body), body["metadata"]["name"]
        known = self._templates.get(name)
        if not gone and known is not None and not is_newer(stored.version, known.version):
            return ()
        if gone:
            self._templates.pop(name, None)
        else:
            self._templates[name] = stored
        return tuple(self._find_users(lambda job: job.template == name, None))

    def _find_users(self, names: Callable[[Stored], bool], namespace: str | None) -> Iterable[Key]:
        """Yield the unfinished TrainingJobs, of one namespace or all, that name something."""
        for key, stored in self._objects.items():
            if not stored.ended and namespace in {None, key.namespace} and names(stored):
                yield key

    def _take_child(self, kind: str, body: Json, *, gone: bool) -> tuple[Key, ...]:
        metadata = body["metadata"]
        uid, key = metadata["uid"], readings.read_key(metadata)
        known = self._children.get(uid)
        if key is None and known is None:
            return ()
        if gone:
            self.drop(uid)
            return (known.key,) if known else ((key,) if key else ())
        if known is not None and not is_newer(metadata["resourceVersion"], known.version):
            return ()
        owner = key or (known.key if known else None)
        if owner is None:
            return ()
        seen = readings.read_job(body) if kind == "Job" else readings.read_pod(body)
        self._put(build_child(owner, seen, metadata))
        return (owner,)

    def _put(self, child: Child) -> None:
        seen = child.seen
        if isinstance(seen, ObservedJob) and seen.uid in self._dying and seen.deleted_at is None:
            child = replace(child, seen=replace(seen, deleted_at=self._dying[seen.uid]))
        self._children[seen.uid] = child
        self._of_key[child.key].add(seen.uid)
        if isinstance(seen, ObservedPod):
            self._of_job[seen.job_uid].add(seen.uid)

    def _find_pods(self, job_uid: str) -> tuple[ObservedPod, ...]:
        found = [child.seen for uid in self._of_job.get(job_uid, ()) if (child := self._children.get(uid))]
        pods = [pod for pod in found if isinstance(pod, ObservedPod)]
        return tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))


def is_newer(version: str, than: str) -> bool:
    """Return whether a resourceVersion is newer than another, as Kubernetes orders them since 1.35 (KEP-5504).

    Versions that are not numbers cannot be ordered: then whatever differs counts as newer, and a list mends the rest.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def _discard(index: defaultdict[_IndexT, set[str]], at: _IndexT, uid: str) -> None:
    """Take a UID out of an index, and leave no empty set behind."""
    index[at].discard(uid)
    if not index[at]:
        del index[at]
