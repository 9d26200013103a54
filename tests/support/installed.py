"""The shared cluster with the chart installed and no operator running: our kinds, templates, roles and policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atelier_contract import names
from atelier_playground.api import Api, wait_for
from atelier_playground.chart import install_chart
from atelier_playground.cluster import CHECKOUT, RELEASE, SYSTEM_NAMESPACE, TRAINER_IMAGE, Cluster
from atelier_playground.errors import ApiError

CHART = CHECKOUT / "charts" / "atelier"
OPERATOR_ACCOUNT = RELEASE
POLICY_SECONDS = 60


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The shared cluster with everything the chart brings, and nobody who acts on it."""
    install_chart(cluster.kubeconfig, CHART, RELEASE, SYSTEM_NAMESPACE, {"operator": {"replicas": 0}})
    return cluster


@pytest.fixture(scope="session")
def as_operator(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The API server as the operator's own service account sees it."""
    api = log_in(installed, SYSTEM_NAMESPACE, OPERATOR_ACCOUNT, tmp_path_factory.mktemp("account"))
    # A policy holds a moment after its binding is made, and each of the two for itself.
    unlabelled = a_job("unlabelled")
    unlabelled["metadata"]["labels"] = {"app": "x"}
    for body in (a_job("foreign", image="docker.io/evil/miner:1"), unlabelled):
        wait_for(lambda body=body: is_refused_by_policy(api, body), "the admission policies hold", POLICY_SECONDS)
    return api


def is_refused_by_policy(api: Api, job: dict[str, Any]) -> bool:
    """Return whether an admission policy refuses a Job; it is not made in either case."""
    try:
        api.request("POST", api.path("batch/v1", "Job", "default") + "?dryRun=All", job)
    except ApiError as error:
        return "ValidatingAdmissionPolicy" in str(error)
    return False


def log_in(cluster: Cluster, namespace: str, account: str, folder: Path) -> Api:
    """Return the API server as a service account sees it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = cluster.api.request("POST", path, request)["status"]["token"]
    document = json.loads(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    kubeconfig = folder / f"{account}.kubeconfig"
    kubeconfig.write_text(json.dumps(document))
    return Api(kubeconfig)


def a_job(name: str = "teapot-train-1", *, pod: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    """Return a Job as the operator makes it, with changes to its pod and its container."""
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    secret = {"secretName": names.STORE_SECRET, "items": [{"key": key, "path": key} for key in names.STORE_KEYS]}
    base: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.TRAINER_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": names.CONTAINER,
                "image": f"{TRAINER_IMAGE}:0.1.0",
                "env": [
                    {"name": names.ENV_POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {
                        "name": names.ENV_EPHEMERAL_BYTES,
                        "valueFrom": {"resourceFieldRef": {"resource": "limits.ephemeral-storage"}},
                    },
                ],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                **container,
            }
        ],
        "volumes": [
            {"name": "input", "configMap": {"name": name}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "store", "secret": secret},
            {"name": "photos", "persistentVolumeClaim": {"claimName": "photos"}},
        ],
    }
    template = {"metadata": {"labels": labels}, "spec": {**base, **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        # Suspended: the policy is asked, and no pod is made.
        "spec": {"suspend": True, "template": template},
    }
