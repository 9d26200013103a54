"""Builds the view that a decision is made from: out of the cache, and of a few calls for what is not watched.

Not watched, and therefore asked for sparingly: the namespace (its UID, and whether it ends), the cluster's UID, the
node of a pod that ought to have ended, and namesakes that do not carry our label. Decides nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from atelier_contract import names
from atelier_contract.dataset import KIND as DATASET
from atelier_contract.dataset import DatasetSpec, DatasetStatus
from atelier_contract.references import NameRef
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.training_job import TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from atelier_operator import readings
from atelier_operator.cache import Cache
from atelier_operator.edges.cluster import Cluster
from atelier_operator.edges.resources import JOBS, NAMESPACES, NODES
from atelier_operator.errors import NotFound
from atelier_operator.model import (
    DatasetView,
    Json,
    Key,
    Meta,
    ObservedDataset,
    ObservedJob,
    ObservedPod,
    ObservedProgress,
    Surroundings,
    TrainingJobView,
)
from atelier_operator.settings import Settings

View = DatasetView | TrainingJobView
_NAMESPACE_SECONDS = 60.0
_NODE_SECONDS = 10.0
_CLUSTER_NAMESPACE = "kube-system"
"""Its UID lasts as long as the cluster: the usual stand-in for a cluster's identity."""


@dataclass(frozen=True)
class Heard:
    """What is known of an object beside the cluster's own records."""

    progress: ObservedProgress | None = None
    """The last answer of its training pod."""
    refused: str = ""
    """What the API server said when its last child was refused."""


@dataclass(frozen=True)
class _Namespace:
    uid: str
    terminating: bool
    read_at: datetime


class Observer:
    """Builds views."""

    def __init__(self, cluster: Cluster, cache: Cache, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._settings = settings
        self._clock = clock
        self._cluster_uid = ""
        self._namespaces: dict[str, _Namespace] = {}
        self._nodes: dict[str, tuple[bool, datetime]] = {}

    async def observe(self, key: Key, heard: Heard) -> View | None:
        """Return the view of an object; None: there is no such object any more.

        Raises:
            Unreadable: its status is not of this release's shape.
            OperatorError: something that is not watched could not be asked for.
        """
        await self._refresh_namesakes(key)
        body = self._cache.find(key)
        if body is None:
            return None
        meta = readings.read_meta(body["metadata"])
        surroundings = await self._read_surroundings(meta)
        jobs = [await self._look_at_nodes(job) for job in self._cache.find_jobs(key)]
        if key.kind == DATASET:
            dataset_spec, problem = readings.read_spec(DatasetSpec, body)
            status = readings.read_status(DatasetStatus, body)
            return DatasetView(meta, dataset_spec, problem, status, tuple(jobs), surroundings, heard.refused)
        spec, problem = readings.read_spec(TrainingJobSpec, body)
        return TrainingJobView(
            meta=meta,
            spec=spec,
            problem=problem,
            status=readings.read_status(TrainingJobStatus, body),
            dataset=self._find_dataset(key.namespace, spec.dataset_ref if spec else None),
            template=self._find_template(spec),
            jobs=tuple(jobs),
            progress=heard.progress,
            refused=heard.refused,
            surroundings=surroundings,
            prior_dataset=self._find_dataset(key.namespace, spec.prior_dataset_ref if spec else None),
            orphans=tuple([await self._look_at_node(pod) for pod in self._cache.find_orphans(key, meta.uid)]),
        )

    def _find_dataset(self, namespace: str, ref: NameRef | None) -> ObservedDataset | None:
        """Return a dataset that a job names; None also while its spec or status cannot be read: the job waits."""
        body = self._cache.find(Key(DATASET, namespace, ref.name)) if ref else None
        if body is None:
            return None
        dataset_spec, _ = readings.read_spec(DatasetSpec, body)
        if dataset_spec is None:
            return None
        return ObservedDataset(body["metadata"]["uid"], dataset_spec, readings.read_status(DatasetStatus, body))

    def _find_template(self, spec: TrainingJobSpec | None) -> TrainingTemplateSpec | None:
        if spec is None or spec.template_ref is None:
            return None
        body = self._cache.find_template(spec.template_ref.name)
        return readings.read_spec(TrainingTemplateSpec, body)[0] if body else None

    async def _refresh_namesakes(self, key: Key) -> None:
        """Ask for Jobs that are in the way but do not carry our label: nobody tells us when they go."""
        for name, uid in self._cache.find_unwatched(key):
            try:
                body = await self._cluster.read(JOBS, key.namespace, name)
            except NotFound:
                self._cache.drop(uid)
                continue
            if body["metadata"]["uid"] != uid:
                self._cache.drop(uid)
            self._cache.note_namesake(key, body)

    async def _read_surroundings(self, meta: Meta) -> Surroundings:
        if not self._cluster_uid:
            found = await self._cluster.read(NAMESPACES, "", _CLUSTER_NAMESPACE)
            self._cluster_uid = found["metadata"]["uid"]
        namespace = await self._read_namespace(meta)
        return Surroundings(
            cluster_uid=self._cluster_uid,
            namespace_uid=namespace.uid,
            namespace_terminating=namespace.terminating,
            trainer_image=self._settings.trainer_image,
            image_pull_policy=self._settings.image_pull_policy,
            operator_namespace=self._settings.operator_namespace,
            operator_labels=dict(names.OPERATOR_LABELS),
        )

    async def _read_namespace(self, meta: Meta) -> _Namespace:
        """Return the object's namespace; read anew when the object ends, because then it may end too."""
        now = self._clock()
        known = self._namespaces.get(meta.namespace)
        fresh = known is not None and (now - known.read_at).total_seconds() < _NAMESPACE_SECONDS
        if known is not None and fresh and meta.deleted_at is None:
            return known
        body = await self._cluster.read(NAMESPACES, "", meta.namespace)
        terminating = body["metadata"].get("deletionTimestamp") is not None
        read = _Namespace(body["metadata"]["uid"], terminating, now)
        self._namespaces[meta.namespace] = read
        return read

    async def _look_at_nodes(self, job: ObservedJob) -> ObservedJob:
        return replace(job, pods=tuple([await self._look_at_node(pod) for pod in job.pods]))

    async def _look_at_node(self, pod: ObservedPod) -> ObservedPod:
        """Return the pod with its node's readiness, if it ought to have ended by now."""
        now = self._clock()
        if pod.deleted_at is None or now < pod.deleted_at or not pod.node:
            return pod
        ready, read_at = self._nodes.get(pod.node, (False, datetime.min.replace(tzinfo=now.tzinfo)))
        if (now - read_at).total_seconds() >= _NODE_SECONDS:
            ready = await self._read_node_readiness(pod.node)
            self._nodes[pod.node] = (ready, now)
        return replace(pod, node_ready=ready)

    async def _read_node_readiness(self, name: str) -> bool:
        try:
            body = await self._cluster.read(NODES, "", name)
        except NotFound:
            return False
        return _is_ready(body)


def _is_ready(node: Json) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
