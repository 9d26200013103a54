"""Mistakes with the cluster: no kubeconfig, the wrong context, nobody there, no rights, Atelier not installed."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atelier_playground.processes import choose_port
from desk import Desk, write_kubeconfig
from installed import log_in
from plugin import Terminal, assert_refused

CLUSTER = "docs/commands.md#the-cluster"
NO_SUCH = "docs/commands.md#no-such-object"
REFUSED = 3
ACCOUNT = "visitor"


def test_no_kubeconfig(tmp_path: Path) -> None:
    """Without a kubeconfig the sentence names KUBECONFIG and who has one."""
    answer = Terminal(tmp_path).type("list")
    assert_refused(answer, REFUSED, "no usable kubeconfig", "Set KUBECONFIG", page=CLUSTER)


def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    """A file of something else in its place is no traceback."""
    (tmp_path / "config").write_text("apiVersion: v1\nkind: [Config\n")
    answer = Terminal(tmp_path, tmp_path / "config").type("list")
    assert_refused(answer, REFUSED, "no usable kubeconfig", "Set KUBECONFIG", page=CLUSTER)


@pytest.mark.cluster
def test_a_context_that_there_is_not(desk: Desk) -> None:
    """A misspelt context is named, with the command that lists those there are."""
    answer = desk.type("list", "--context", "studoi")
    assert_refused(answer, REFUSED, "the kubeconfig has no context studoi", "kubectl config get-contexts", page=CLUSTER)


@pytest.mark.cluster
def test_a_cluster_that_is_not_there(desk: Desk, tmp_path: Path) -> None:
    """A cluster that does not answer is named by its address, with what to look at."""
    address = f"https://127.0.0.1:{choose_port()}"
    terminal = replace(desk.terminal, kubeconfig=write_kubeconfig(desk.cluster, tmp_path / "away", server=address))
    says = (f"the API server at {address} does not answer", "is the cluster running", "right context")
    assert_refused(terminal.type("list"), REFUSED, *says, page=CLUSTER)


@pytest.mark.cluster
def test_a_login_that_is_over(desk: Desk, tmp_path: Path) -> None:
    """A token that is not taken any more asks for another login."""
    document = json.loads(desk.cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "an-old-token"}
    (tmp_path / "old").write_text(json.dumps(document))
    answer = replace(desk.terminal, kubeconfig=tmp_path / "old").type("list")
    assert_refused(answer, REFUSED, "the cluster does not know you", "log in again", page=CLUSTER)


@pytest.fixture
def visitor(desk: Desk, tmp_path: Path) -> Terminal:
    """A terminal of somebody who has an account and no rights."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
    desk.cluster.api.apply(account, desk.namespace)
    log_in(desk.cluster, desk.namespace, ACCOUNT, tmp_path)
    return replace(desk.terminal, kubeconfig=tmp_path / f"{ACCOUNT}.kubeconfig")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("typed", "what"),
    [("list", "cannot list resource"), ("watch teapot", "cannot get resource"), ("stop young", "cannot get resource")],
)
def test_no_rights(visitor: Terminal, typed: str, what: str) -> None:
    """Who may not is told what is not allowed, where, and which role to ask for."""
    says = (what, '"trainingjobs"', 'namespace "catalogue"', "The role `edit` in the namespace")
    assert_refused(visitor.type(*typed.split()), REFUSED, *says, page=CLUSTER)


class Stranger(http.server.BaseHTTPRequestHandler):
    """An API server without our kinds: what Kubernetes answers for a group that it does not know."""

    def do_GET(self) -> None:  # a name that http.server looks for
        """Answer as Kubernetes does."""
        self.send_response(404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"404 page not found\n")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a cluster on which Atelier is not installed."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("typed", ["list", "watch teapot"])
def test_atelier_is_not_installed(stranger: str, tmp_path: Path, typed: str) -> None:
    """A cluster without our kinds is told from a name that is not there."""
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [context],
        "clusters": [{"name": "x", "cluster": {"server": stranger}}],
        "users": [{"name": "x", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(document))
    says = ("this cluster knows no trainingjobs.atelier.dev", "Atelier is not installed", "another cluster")
    assert_refused(Terminal(tmp_path, tmp_path / "config").type(*typed.split()), 2, *says, page=NO_SUCH)


@pytest.mark.cluster
def test_a_namespace_that_there_is_not(desk: Desk) -> None:
    """In a namespace that does not exist there is no job, and the sentence names the namespace."""
    answer = replace(desk.terminal, namespace="catalgoue").type("describe", "teapot")
    assert_refused(answer, 2, "there is no TrainingJob teapot in namespace catalgoue", page=NO_SUCH)
