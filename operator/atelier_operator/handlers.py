"""Where Kopf's part ends: its events go into the cache, and the keys they concern are marked as due.

Kopf brings the watches (lists, reconnects, bookmarks, renewed credentials) and nothing else: no handler here keeps
state, writes an annotation, holds a finalizer or posts an Event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from atelier_operator.edges.connection import Credentials
from atelier_operator.edges.resources import LABELLED, SELECTOR, WATCHED, Resource
from atelier_operator.model import Json

Take = Callable[[Resource, Json, bool], None]
"""Takes in an object that changed, or (True) is gone."""

SERVER_TIMEOUT_SECONDS = 290  # whole: the API server refuses a fraction
"""The API server ends a watch then, and Kopf opens another: no stream grows old enough to be silently dead."""
CONNECT_TIMEOUT_SECONDS = 10.0


def build_registry(take: Take, log_in: Callable[[], Awaitable[Credentials]]) -> kopf.OperatorRegistry:
    """Return Kopf's handlers: one for the credentials, and one for the events of each watched kind."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def provide_credentials(**_: Any) -> kopf.ConnectionInfo:
        return build_connection(await log_in())

    for resource in WATCHED:
        _register(registry, resource, take)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: no peering, no scanning, no posting; bounded, labelled and never silent watches."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.connect_timeout = CONNECT_TIMEOUT_SECONDS
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 1.0
    # Ends with our own process; Kopf's own last resort is a SIGKILL, which would keep the Lease.
    settings.process.ultimate_exiting_timeout = None
    settings.persistence.diffbase_storage = NoDiffs()
    for resource in LABELLED:
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = SELECTOR
    return settings


def build_connection(credentials: Credentials) -> kopf.ConnectionInfo:
    """Return our credentials in Kopf's words."""
    return kopf.ConnectionInfo(
        server=credentials.server,
        ca_path=credentials.ca_file,
        insecure=not credentials.verify,
        scheme=credentials.scheme,
        token=credentials.token,
        certificate_path=credentials.certificate_file,
        private_key_path=credentials.key_file,
        trust_env=True,
    )


class NoDiffs(kopf.DiffBaseStorage):
    """Kopf's memory of what an object looked like before, left empty.

    Only state-storing handlers need it and there are none, but Kopf would copy every object twice for every event: half
    of the operator's processor time in a burst (see DECISIONS).
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing of the object."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Remember nothing."""

    def store(self, **_: Any) -> None:
        """Store nothing: no annotation is ever written."""


def _register(registry: kopf.OperatorRegistry, resource: Resource, take: Take) -> None:
    async def see(event: Mapping[str, Any], **_: Any) -> None:
        take(resource, event["object"], event["type"] == "DELETED")

    kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)(see)
