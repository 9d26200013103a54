"""The desk at which the catalogue's mistakes are made: one namespace for all of them, which no mistake may change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atelier_playground.cluster import Cluster
from desk import Desk, furnish, write_kubeconfig
from plugin import Terminal

NAMESPACE = "catalogue"


@pytest.fixture(scope="session")
def desk(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A namespace with a job in every state, and a terminal in it."""
    installed.make_user_namespace(NAMESPACE)
    folder = tmp_path_factory.mktemp("desk")
    kubeconfig = write_kubeconfig(installed, folder / "kubeconfig")
    desk = Desk(installed, NAMESPACE, Terminal(folder, kubeconfig, NAMESPACE))
    furnish(desk)
    yield desk
    installed.api.delete("v1", "Namespace", NAMESPACE)
