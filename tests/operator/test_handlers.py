"""Kopf's part: events come in, and nothing of Kopf's own is left on anybody's object."""

from __future__ import annotations

from typing import Any

import kopf
import pytest

from atelier_operator import handlers
from atelier_operator.edges.connection import Credentials
from atelier_operator.edges.resources import JOBS, LABELLED, SELECTOR, WATCHED, Resource

CREDENTIALS = Credentials("https://server", "ca.crt", True, "Bearer", "token", None, None)


async def log_in() -> Credentials:
    return CREDENTIALS


@pytest.fixture
def taken() -> list[tuple[Resource, dict[str, Any], bool]]:
    return []


@pytest.fixture
def registry(taken: list) -> kopf.OperatorRegistry:
    return handlers.build_registry(lambda *event: taken.append(event), log_in)


def find_handlers(registry: kopf.OperatorRegistry, name: str) -> list[Any]:
    return list(getattr(registry, name).get_all_handlers())


def test_every_watched_kind_has_one_handler(registry: kopf.OperatorRegistry):
    """No kind is forgotten."""
    found = {handler.id for handler in find_handlers(registry, "_watching")}
    assert found == {resource.plural for resource in WATCHED}


@pytest.mark.parametrize("kind", ["_changing", "_spawning", "_indexing", "_webhooks"])
def test_no_handler_keeps_state(registry: kopf.OperatorRegistry, kind: str):
    """State-storing handlers, daemons, timers, indexes and webhooks are what writes annotations and finalizers."""
    assert find_handlers(registry, kind) == []


@pytest.mark.parametrize(("event", "gone"), [("ADDED", False), (None, False), ("MODIFIED", False), ("DELETED", True)])
async def test_an_event_is_taken_in(registry: kopf.OperatorRegistry, taken: list, event: str | None, gone: bool):
    """With its kind, its object, and whether that is the end of it."""
    (handler,) = [one for one in find_handlers(registry, "_watching") if one.id == JOBS.plural]
    await handler.fn(event={"type": event, "object": {"metadata": {}}})
    assert taken == [(JOBS, {"metadata": {}}, gone)]


def test_shared_kinds_are_sorted_by_the_server():
    """Other people's Jobs and pods never reach the operator."""
    selectors = handlers.build_settings().watching.label_selectors
    assert sorted(selectors.values()) == [SELECTOR] * len(LABELLED)


def test_kopf_does_nothing_by_itself():
    """No peering object, no scanning of the cluster, no Events of its own, no kill of the process."""
    settings = handlers.build_settings()
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert settings.process.ultimate_exiting_timeout is None


def test_watches_are_bounded_in_whole_seconds():
    """The API server refuses a fraction, and every watch would end at once."""
    assert isinstance(handlers.build_settings().watching.server_timeout, int)


def test_nothing_is_remembered_of_an_object():
    """Kopf's copies of every object would cost half of a burst's processor time."""
    memory = handlers.build_settings().persistence.diffbase_storage
    assert memory.build(body={"spec": {"steps": 5}}) == {}
    assert (
        memory.fetch(body={"metadata": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{}"}}}) is None
    )


def test_kopf_speaks_as_the_same_user():
    """One reader of credentials serves both clients."""
    connection = handlers.build_connection(CREDENTIALS)
    assert (connection.server, connection.scheme, connection.token) == ("https://server", "Bearer", "token")
