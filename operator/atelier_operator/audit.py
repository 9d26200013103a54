"""Compares the cache with the API server: once before the first look, then every few minutes.

Watches can lose what happens while they are broken (Kopf lists again, but tells of no deletion it missed), so what
events bring is never the only source. The first comparison fills the cache: deciding from half a cache could start a
second training. Later ones mend it, and say which watch cannot be trusted any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily

from atelier_operator.cache import Cache, is_newer
from atelier_operator.edges.cluster import Cluster
from atelier_operator.edges.metrics import build_gauge
from atelier_operator.edges.resources import LABELLED, SELECTOR, WATCHED, Resource
from atelier_operator.errors import OperatorError
from atelier_operator.model import Json, Key
from atelier_operator.queue import Queue

AUDIT_SECONDS = 300.0
SETTLE_SECONDS = 5.0
"""Time an event may take from the API server to the cache before it counts as missed."""
_STRIKES = 2
"""Comparisons in a row that found something missed, before a watch counts as dead."""

_logger = logging.getLogger(__name__)


@dataclass
class _Listed:
    """What one comparison saw."""

    list_version: str = ""
    uids: set[str] = field(default_factory=set)
    behind: dict[str, Json] = field(default_factory=dict)
    """Objects of which the cache has an older version or none, by UID."""


class Auditor:
    """Compares cache and API server."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: Queue,
        namespaces: tuple[str, ...],
        steady_seconds: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._namespaces = namespaces
        self._steady_seconds = steady_seconds
        self._strikes = dict.fromkeys((resource.kind for resource in WATCHED), 0)
        self._trusted_at: dict[str, float] = {}
        self.filled = False

    async def fill(self) -> None:
        """Fill the cache from lists, and mark every object.

        Raises:
            OperatorError: the API server did not answer, or did not allow it.
        """
        for resource in WATCHED:
            listed = await self._list(resource)
            for body in listed.behind.values():
                self._cache.take(resource.kind, body)
            self.note_news(resource.kind)
        for key in self._cache.list_keys():
            self._queue.mark(key)
        self.filled = True

    async def repeat(self) -> None:
        """Compare every few minutes, for ever."""
        while True:
            for resource in WATCHED:
                await asyncio.sleep(AUDIT_SECONDS / len(WATCHED))
                try:
                    await self.compare(resource)
                except OperatorError as error:
                    _logger.warning("resource=%s not compared: %s", resource.plural, error)

    async def compare(self, resource: Resource, *, settle_seconds: float = SETTLE_SECONDS) -> int:
        """Compare one kind, mend the cache, and return how much the watch had missed."""
        known = self._cache.versions(resource.kind)
        listed = await self._list(resource)
        gone = {
            uid
            for uid, version in known.items()
            if uid not in listed.uids and not is_newer(version, listed.list_version)
        }
        await asyncio.sleep(settle_seconds)
        missed = self._mend(resource, listed, gone)
        self._strikes[resource.kind] = self._strikes[resource.kind] + 1 if missed else 0
        if missed:
            _logger.warning("resource=%s missed=%d events were lost, the cache is mended", resource.plural, missed)
        else:
            self.note_news(resource.kind)
        return missed

    def note_news(self, kind: str) -> None:
        """Remember that a kind's watch brought an event, or was found to have missed none."""
        self._trusted_at[kind] = self._steady_seconds()

    def find_dead(self) -> tuple[str, ...]:
        """Return the kinds whose watch missed something in every recent comparison."""
        return tuple(kind for kind, strikes in self._strikes.items() if strikes >= _STRIKES)

    def collect_gauges(self) -> Iterable[GaugeMetricFamily]:
        """Return the age of what each watch brought, for a monitor."""
        now = self._steady_seconds()
        ages: dict[tuple[str, ...], float] = {(kind,): now - at for kind, at in self._trusted_at.items()}
        text = "Seconds since a watch brought an event or was found complete."
        yield build_gauge("atelier_watch_age_seconds", text, ages, "kind")

    def _mend(self, resource: Resource, listed: _Listed, gone: set[str]) -> int:
        missed = 0
        still_known = self._cache.versions(resource.kind)
        for uid, body in listed.behind.items():
            if uid in still_known and not is_newer(body["metadata"]["resourceVersion"], still_known[uid]):
                continue
            keys = self._cache.take(resource.kind, body)
            missed += self._mark(keys)
        for uid in gone & still_known.keys():
            keys = self._cache.forget(resource.kind, uid)
            missed += max(1, self._mark(keys))
        return missed

    def _mark(self, keys: tuple[Key, ...]) -> int:
        for key in keys:
            self._queue.mark(key)
        return 1 if keys else 0

    async def _list(self, resource: Resource) -> _Listed:
        known = self._cache.versions(resource.kind)
        listed = _Listed()
        selector = SELECTOR if resource in LABELLED else ""
        for namespace in self._namespaces if resource.namespaced and self._namespaces else ("",):
            token = ""
            while True:
                page = await self._cluster.read_page(resource, namespace, selector=selector, token=token)
                listed.list_version = page.resource_version
                for body in page.items:
                    uid = body["metadata"]["uid"]
                    listed.uids.add(uid)
                    if uid not in known or is_newer(body["metadata"]["resourceVersion"], known[uid]):
                        listed.behind[uid] = body
                token = page.next_token
                if not token:
                    break
        return listed
