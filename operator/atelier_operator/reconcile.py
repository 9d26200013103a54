"""The one thing the operator does: look at an object, decide, act, and write its status once.

`Reconciler.look` is level-triggered and safe to repeat at any time: what it does follows from what is, never from which
event woke it. It decides nothing about a run: that is plan's. It remembers only what the API server refused, until the
next success.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from atelier_contract import names
from atelier_contract.dataset import DatasetStatus
from atelier_contract.training_job_status import TrainingJobStatus, fit_status
from atelier_operator.cache import Cache
from atelier_operator.edges.actions import Actor
from atelier_operator.edges.cluster import Cluster
from atelier_operator.edges.metrics import Metrics, build_gauge
from atelier_operator.edges.resources import OWNERS
from atelier_operator.errors import Conflict, NotFound, OperatorError, Refused, Unavailable
from atelier_operator.model import Json, Key, Meta, Plan
from atelier_operator.observe import Heard, Observer, View
from atelier_operator.polling import Poller
from atelier_operator.queue import Queue

NAMESAKE_SECONDS = 5.0
"""Pause between two looks at a foreign Job that has the name of one of ours: no event tells when it goes."""
_TRIES = 3
"""Looks in a row at an object that keeps changing under our hands, before it must wait its turn."""

Decide = Callable[[Any, datetime], Plan]
"""Turns a view into a plan; each kind has its own, which knows its own view's type."""
Status = DatasetStatus | TrainingJobStatus

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a reconciler works with."""

    cluster: Cluster
    cache: Cache
    queue: Queue
    observer: Observer
    actor: Actor
    poller: Poller
    metrics: Metrics
    deciders: Mapping[str, Decide]
    """By kind."""
    now: Callable[[], datetime]
    steady_seconds: Callable[[], float]


class Reconciler:
    """Looks at objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._refused: dict[Key, str] = {}
        self._states: dict[Key, str] = {}

    async def look(self, key: Key) -> None:
        """Look at one object and settle its key; never raises for what one object does."""
        parts = self._parts
        started_at = parts.steady_seconds()
        try:
            await self._look_until_settled(key)
        except OperatorError as error:
            seconds = error.retry_after_seconds if isinstance(error, Unavailable) else 0.0
            self._report(key, error)
            parts.queue.settle(key, failed=True, at_least_seconds=seconds)
        except Exception as error:
            # A bug of ours in one object's decision must not take the other objects with it.
            _logger.exception("%s look failed", describe(key))
            parts.metrics.count_error(key.kind, type(error).__name__)
            parts.queue.settle(key, failed=True)
        else:
            parts.queue.settle(key)
        parts.metrics.count_look(key.kind, parts.steady_seconds() - started_at)

    def collect_gauges(self) -> Iterable[GaugeMetricFamily]:
        """Return how many objects are in which state, for a monitor."""
        counts: dict[tuple[str, ...], float] = defaultdict(float)
        for key, state in self._states.items():
            counts[key.kind, state] += 1
        yield build_gauge("atelier_objects", "Objects by kind and state.", counts, "kind", "state")

    async def _look_until_settled(self, key: Key) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._look_once(key)
            except Conflict as error:
                _logger.debug("%s conflict: %s", describe(key), error)
                await self._refresh(key)
                if attempt == _TRIES:
                    raise
        return None

    async def _look_once(self, key: Key) -> None:
        parts = self._parts
        view = await self._observe(key)
        if view is None:
            return self._forget(key)
        plan = parts.deciders[key.kind](view, parts.now())
        meta = view.meta
        if plan.write_status_first:
            meta = await self._write_status(key, meta, view.status, plan.status)
        try:
            for action in plan.actions:
                version = await parts.actor.perform(key, meta, action)
                meta = replace(meta, resource_version=version)
        except Refused as refused:
            await self._show_refusal(key, str(refused))
            raise
        if plan.actions:
            self._refused.pop(key, None)
        if not plan.write_status_first:
            await self._write_status(key, meta, view.status, plan.status)
        self._states[key] = plan.labels.get("state", "")
        parts.poller.follow(key, plan.ask_pod)
        if plan.look_again_seconds is not None:
            parts.queue.mark(key, after_seconds=plan.look_again_seconds)
        if parts.cache.find_unwatched(key):
            parts.queue.mark(key, after_seconds=NAMESAKE_SECONDS)
        return None

    async def _observe(self, key: Key) -> View | None:
        heard = Heard(progress=self._parts.poller.read(key), refused=self._refused.get(key, ""))
        return await self._parts.observer.observe(key, heard)

    async def _show_refusal(self, key: Key, message: str) -> None:
        """Decide once more, knowing that the API server said no, and write only what the user should read."""
        self._refused[key] = message
        view = await self._observe(key)
        if view is not None:
            plan = self._parts.deciders[key.kind](view, self._parts.now())
            self._states[key] = plan.labels.get("state", "")
            await self._write_status(key, view.meta, view.status, plan.status)

    async def _write_status(self, key: Key, meta: Meta, before: Status, after: Status) -> Meta:
        """Write a status that differs, carrying the version it was decided from; return the object's new version.

        Raises:
            Conflict: the object has changed since; a stale apply would silently drop rows of lists.
        """
        if isinstance(after, TrainingJobStatus):
            after = fit_status(after)
        if after == before:
            return meta
        resource = OWNERS[key.kind]
        body = {
            "apiVersion": names.API_VERSION,
            "kind": key.kind,
            # A version belongs to one object alone, so this fences off a re-created namesake too (a UID would not:
            # on /status the API server takes no notice of it).
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                "resourceVersion": meta.resource_version,
            },
            "status": after.as_json(),
        }
        try:
            written = await self._parts.cluster.apply_status(resource, meta.namespace, meta.name, body)
        except NotFound as error:
            raise Conflict(f"{describe(key)} is gone: look again") from error
        self._take(key, resource.kind, written)
        return replace(meta, resource_version=written["metadata"]["resourceVersion"])

    async def _refresh(self, key: Key) -> None:
        """Take the object's newest version from the API server itself."""
        resource = OWNERS[key.kind]
        try:
            body = await self._parts.cluster.read(resource, key.namespace, key.name)
        except NotFound:
            self._parts.cache.forget_key(key)
        else:
            self._take(key, resource.kind, body)

    def _take(self, key: Key, kind: str, body: Json) -> None:
        """Take an answer of the API server into the cache, and mark the others whom it concerns.

        The watch brings the same version later, which is then no news: jobs that wait for a dataset hear of it here.
        """
        for other in self._parts.cache.take(kind, body):
            if other != key:
                self._parts.queue.mark(other)

    def _forget(self, key: Key) -> None:
        self._parts.poller.follow(key, None)
        self._parts.queue.forget(key)
        self._refused.pop(key, None)
        self._states.pop(key, None)

    def _report(self, key: Key, error: OperatorError) -> None:
        self._parts.metrics.count_error(key.kind, type(error).__name__)
        _logger.warning("%s %s: %s", describe(key), type(error).__name__, error)


def describe(key: Key) -> str:
    """Return a key as log lines show it."""
    return f"kind={key.kind} object={key.namespace}/{key.name}"
