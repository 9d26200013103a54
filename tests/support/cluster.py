"""The one real cluster that all tests marked `cluster` share: started at the first of them, ended after the last.

Tests keep apart by namespaces of their own (the fixture `namespace`). A test that needs a node to itself starts one of
the spare nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from atelier_playground.cluster import Cluster, Plan
from atelier_playground.controlplane import Patience
from atelier_playground.images import build_python_image, build_system_image

SHELL_IMAGE = "atelier.test/shell"
"""The machine's /usr and a shell: what most tests of the node run."""
PYTHON_IMAGE = "atelier.test/python"
"""The virtual environment without any source root of the project."""
SPARE_NODES = ("spare-1", "spare-2")

# A lost node is noticed in 20 s instead of 50, and its pods are deleted 2 s later instead of 300. Shorter would let a
# busy machine lose nodes that are only slow.
_PATIENCE = Patience(node_grace_seconds=20, eviction_seconds=2)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with one node, a store, two small images, and no operator."""
    images = {SHELL_IMAGE: build_system_image(), PYTHON_IMAGE: build_python_image([])}
    plan = Plan(spare_nodes=SPARE_NODES, patience=_PATIENCE, restart_seconds=1, images=images)
    with Cluster(plan, report=print) as started:
        yield started


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A user namespace of the test's own, enforcing Pod Security `restricted`; deleted afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].strip("-")
    cluster.make_user_namespace(name)
    yield name
    cluster.api.delete("v1", "Namespace", name)
