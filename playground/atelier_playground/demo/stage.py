"""Where the demo plays: a cluster of its own, one that stays up, or one that the person names.

Each stage gives the API and a namespace with a store, and afterwards ends what it started and removes what it brought,
unless it is to be kept.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atelier_contract import names, training_job
from atelier_playground.api import Api, ProxiedApi, wait_for
from atelier_playground.binaries import Report, find_kubectl
from atelier_playground.cluster import Cluster, make_user_namespace
from atelier_playground.demo.luggage import require_free_names
from atelier_playground.demo.store import open_store
from atelier_playground.errors import ApiError, PlaygroundError
from atelier_playground.owner import bring_up
from atelier_playground.processes import Child

NAMESPACE = "demo"


@dataclass(frozen=True)
class Stage:
    """A cluster with Atelier on it.

    Attributes:
        api: the way to the cluster.
        namespace: where the demo's objects go.
        is_borrowed: whether the cluster is the person's own, so that what the demo brought must go.
        farewell: what to print at the end, such as the KUBECONFIG line of a cluster that stays.
    """

    api: Api
    namespace: str
    is_borrowed: bool = False
    farewell: str = ""


@contextlib.contextmanager
def open_own_stage(report: Report) -> Iterator[Stage]:
    """Start a cluster for the demo alone; it ends with the demo."""
    with Cluster(report=report) as cluster:
        report("operator: installing by Helm")
        cluster.install_operator()
        cluster.make_user_namespace(NAMESPACE)
        yield Stage(cluster.api, NAMESPACE)


@contextlib.contextmanager
def open_kept_stage(report: Report) -> Iterator[Stage]:
    """Bring up a cluster that stays, or use the one that did; each demo on it has a namespace of its own."""
    owner = bring_up(report)
    api = Api(Path(owner.kubeconfig))
    taken = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    free = (name for name in (NAMESPACE, *(f"{NAMESPACE}-{n}" for n in range(2, 1000))) if name not in taken)
    namespace = next(free)
    make_user_namespace(api, namespace, owner.store)
    words = (
        "the cluster stays up; end it with: .venv/bin/python -m atelier_playground down\n"
        f"export KUBECONFIG={owner.kubeconfig}"
    )
    yield Stage(api, namespace, farewell=words)


@contextlib.contextmanager
def open_borrowed_stage(context: str, namespace: str, scratch: Path) -> Iterator[Stage]:
    """Use a cluster that the person's own kubeconfig names, with the person's own rights.

    Raises:
        PlaygroundError: it cannot be reached, Atelier is not installed there, or something has the demo's names.
    """
    log = scratch / "kubectl-proxy.log"
    log.unlink(missing_ok=True)
    proxy = Child("kubectl proxy", [find_kubectl(), "--context", context, "proxy", "--port", "0"], log)
    try:
        port: int = wait_for(lambda: _read_port(log) or not proxy.is_running(), "kubectl proxy listens", 30)
        if port is True:
            raise PlaygroundError(f"context {context} cannot be used: {log.read_text().strip()}")
        api = ProxiedApi(port)
        _require_atelier(api, namespace)
        require_free_names(api, namespace, open_store(api, namespace))
        yield Stage(api, namespace, is_borrowed=True)
    finally:
        proxy.stop()


def _read_port(log: Path) -> int | None:
    found = re.search(r"Starting to serve on 127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found else None


def _require_atelier(api: Api, namespace: str) -> None:
    try:
        api.list(names.API_VERSION, training_job.KIND, namespace)
    except ApiError as error:
        raise PlaygroundError(
            f"Atelier is not installed there, or you may not use it ({error}): helm install atelier charts/atelier"
        ) from error
