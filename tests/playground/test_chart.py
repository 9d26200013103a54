"""Charts are installed in the playground as Helm installs them in any cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from atelier_playground.chart import ChartRefused, install_chart, uninstall_chart
from atelier_playground.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of one ConfigMap that holds the value `colour`."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (tmp_path / "values.yaml").write_text("colour: blue\n")
    body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: small}\n"
    body += "data: {colour: {{ required `no colour` .Values.colour }}}\n"
    (tmp_path / "templates" / "map.yaml").write_text(body)
    return tmp_path


def read_colour(cluster: Cluster, namespace: str) -> str | None:
    found = cluster.api.find("v1", "ConfigMap", "small", namespace)
    return None if found is None else found["data"]["colour"]


def test_release_is_installed_upgraded_and_removed(cluster: Cluster, namespace: str, chart: Path):
    """A second install of a release upgrades it, and removing it removes its objects."""
    seen = []
    for values in ({}, {"colour": "red"}):
        install_chart(cluster.kubeconfig, chart, "small", namespace, values)
        seen.append(read_colour(cluster, namespace))
    uninstall_chart(cluster.kubeconfig, "small", namespace)
    assert [*seen, read_colour(cluster, namespace)] == ["blue", "red", None]


def test_refusal_names_the_chart_and_the_fault(cluster: Cluster, namespace: str, chart: Path):
    """A chart that does not render is refused with Helm's own words."""
    with pytest.raises(ChartRefused, match="no colour"):
        install_chart(cluster.kubeconfig, chart, "small", namespace, {"colour": None})
