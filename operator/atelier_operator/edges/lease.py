"""The Lease: only its holder acts, so that two operators never do the same thing at the same time.

As client-go does it: a Lease counts as free when it has not changed for its own duration by *our* steady clock (clocks
of different machines are never compared), and it is taken by a write that carries the version seen. The holder's name
is the pod's, so that a container that was killed and started again in its pod goes on at once; a restart of the
operator is therefore never a pause, and a lost machine costs at most `DURATION_SECONDS` and two looks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from atelier_operator.edges.cluster import Cluster
from atelier_operator.edges.resources import LEASES
from atelier_operator.errors import AlreadyExists, Conflict, LeaseLost, NotFound, OperatorError
from atelier_operator.model import Json

DURATION_SECONDS = 12
"""How long a Lease lasts without renewal."""
RENEW_SECONDS = 4.0
DEADLINE_SECONDS = 8.0
"""A holder that could not renew for so long stops acting, well before another may begin."""
LOOK_SECONDS = 2.0
"""Pause between two looks of one who waits."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseClocks:
    """The steady clock to wait by, the wall clock to write, and how to sleep."""

    steady_seconds: Callable[[], float]
    now: Callable[[], datetime]


class Lease:
    """One operator's claim on the Lease."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str, clocks: LeaseClocks) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clocks = clocks
        self._seen_version = ""
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.held = False
        self.reached_at = clocks.steady_seconds()
        """When the API server last answered about the Lease, by the steady clock."""

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self.try_take():  # noqa: ASYNC110  # the other side is a server, not a task of ours
            await asyncio.sleep(LOOK_SECONDS)  # the other side is a server, not a task of ours
        self.held = True
        _logger.info("lease=%s/%s holder=%s taken", self._namespace, self._name, self._identity)

    async def keep(self) -> None:
        """Renew the Lease for ever.

        Raises:
            LeaseLost: it was taken by another, or could not be renewed before the deadline. Nothing may be done then.
        """
        try:
            while True:
                await asyncio.sleep(RENEW_SECONDS)
                await self._renew()
        except LeaseLost:
            self.held = False
            raise

    async def release(self) -> None:
        """Give the Lease back, so that the next one need not wait; failing to is no loss but time."""
        self.held = False
        try:
            body = await self._cluster.read(LEASES, self._namespace, self._name)
            if body["spec"].get("holderIdentity") == self._identity:
                body["spec"]["holderIdentity"] = ""
                await self._cluster.replace(LEASES, self._namespace, self._name, body)
        except OperatorError as error:
            _logger.warning("lease=%s/%s not given back: %s", self._namespace, self._name, error)

    async def try_take(self) -> bool:
        """Take the Lease if it is ours, free, or expired; return whether it is ours now."""
        try:
            body = await self._cluster.read(LEASES, self._namespace, self._name)
        except NotFound:
            return await self._create()
        except OperatorError as error:
            _logger.warning("lease=%s/%s not read: %s", self._namespace, self._name, error)
            return False
        self.reached_at = self._clocks.steady_seconds()
        if not self._is_free(body):
            return False
        return await self._write(body)

    def _is_free(self, body: Json) -> bool:
        spec, version = body["spec"], body["metadata"]["resourceVersion"]
        if spec.get("holderIdentity") in {None, "", self._identity}:
            return True
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._clocks.steady_seconds()
            return False
        lasts_seconds = float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        return self._clocks.steady_seconds() - self._seen_at > lasts_seconds

    async def _create(self) -> bool:
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._build_spec({}),
        }
        asked_at = self._clocks.steady_seconds()
        try:
            await self._cluster.create(LEASES, self._namespace, body)
        except (AlreadyExists, Conflict):
            return False
        self._renewed_at = self.reached_at = asked_at
        return True

    async def _write(self, body: Json) -> bool:
        """Write our name into the Lease as it was read; return whether nobody was faster."""
        asked_at = self._clocks.steady_seconds()
        try:
            await self._cluster.replace(
                LEASES, self._namespace, self._name, {**body, "spec": self._build_spec(body["spec"])}
            )
        except (Conflict, NotFound):
            return False
        self._renewed_at = self.reached_at = asked_at
        return True

    def _build_spec(self, before: Json) -> Json:
        now = self._clocks.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._identity
        changes = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": changes if ours or not before else changes + 1,
        }

    async def _renew(self) -> None:
        """Renew once, trying until the deadline.

        Raises:
            LeaseLost: another holds it, or the deadline has passed.
        """
        deadline = self._renewed_at + DEADLINE_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clocks.steady_seconds())):
                    body = await self._cluster.read(LEASES, self._namespace, self._name)
                    holder = body["spec"].get("holderIdentity")
                    if holder != self._identity:
                        raise LeaseLost(f"the Lease {self._name} is held by {holder or 'nobody'} now")
                    if await self._write(body):
                        return
            except (OperatorError, TimeoutError) as error:
                if isinstance(error, LeaseLost):
                    raise
                _logger.warning("lease=%s/%s not renewed: %s", self._namespace, self._name, error)
            if self._clocks.steady_seconds() >= deadline:
                raise LeaseLost(f"the Lease {self._name} could not be renewed for {DEADLINE_SECONDS:g} s")
            await asyncio.sleep(1.0)
