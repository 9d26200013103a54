"""Nodes of the playground can be lost, and the cluster takes them for lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from atelier_playground.api import Object, wait_for
from atelier_playground.cluster import Cluster
from cluster import SPARE_NODES
from pods import build_pod, read_pod, read_termination, wait_for_phase

pytestmark = pytest.mark.cluster


def build_pinned_pod(name: str, node: str) -> Object:
    """Build a pod that runs for ever on one node."""
    return build_pod(name, "sleep 1000", nodeSelector={"kubernetes.io/hostname": node})


def is_ready(cluster: Cluster, node: str) -> bool:
    """Whether the cluster takes a node for alive."""
    conditions = cluster.api.get("v1", "Node", node)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def test_lost_node_leaves_its_pod_terminating(cluster: Cluster, namespace: str):
    """A silent node becomes NotReady, its pod is marked for deletion as a disruption, and healing lets the pod go."""
    node = SPARE_NODES[0]
    machine = cluster.join(node)
    cluster.api.create(build_pinned_pod("stranded", node), namespace)
    wait_for_phase(cluster.api, namespace, "stranded", "Running")
    machine.lose()
    wait_for(lambda: not is_ready(cluster, node), "the node is NotReady", timeout_seconds=90)
    wait_for(
        lambda: "deletionTimestamp" in read_pod(cluster.api, namespace, "stranded")["metadata"],
        "the pod is marked for deletion",
    )
    conditions = read_pod(cluster.api, namespace, "stranded")["status"]["conditions"]
    assert "DisruptionTarget" in {one["type"] for one in conditions}
    machine.heal()
    wait_for(lambda: cluster.api.find("v1", "Pod", "stranded", namespace) is None, "the pod is gone")


def test_crashed_node_reports_its_pods_lost(cluster: Cluster, namespace: str):
    """After a crash the programs are gone, and the node that comes back reports the pod as failed."""
    node = SPARE_NODES[1]
    machine = cluster.join(node)
    cluster.api.create(build_pinned_pod("crashed", node), namespace)
    pod = wait_for_phase(cluster.api, namespace, "crashed", "Running")
    program = machine.find_program(pod["metadata"]["uid"], "main")
    machine.crash()
    assert program is not None
    wait_for(lambda: not is_running(program), "the program is gone")
    cluster.join(node)
    ended = read_termination(wait_for_phase(cluster.api, namespace, "crashed", "Failed"))
    assert ended["reason"] == "ContainerStatusUnknown"


def test_eviction_ends_a_pod_in_order(cluster: Cluster, namespace: str):
    """The eviction API ends a pod with grace and marks it as a disruption."""
    script = "trap 'exit 30' TERM; while :; do sleep 0.1; done"
    pod = build_pod("evicted", script)
    pod["metadata"]["finalizers"] = ["atelier.test/look"]
    cluster.api.create(pod, namespace)
    wait_for_phase(cluster.api, namespace, "evicted", "Running")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted", "namespace": namespace}}
    cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/pods/evicted/eviction", body)
    ended = wait_for_phase(cluster.api, namespace, "evicted", "Failed")
    cluster.api.patch("v1", "Pod", "evicted", {"metadata": {"finalizers": None}}, namespace)
    kinds = {one["type"] for one in ended["status"]["conditions"]}
    assert (read_termination(ended)["exitCode"], "DisruptionTarget" in kinds) == (30, True)


def is_running(program: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{program}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
