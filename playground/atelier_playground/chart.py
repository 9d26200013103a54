"""Helm releases in a playground: installed, upgraded and removed as a user would, without the `helm` program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python

from atelier_playground.errors import PlaygroundError


class ChartRefused(PlaygroundError):
    """Helm or the API server refused a chart."""


def install_chart(
    kubeconfig: Path, chart: Path, release: str, namespace: str, values: Mapping[str, Any] | None = None
) -> str:
    """Install a chart, or upgrade the release when it is there already.

    Args:
        kubeconfig: whose rights are used.
        chart: the chart's directory.
        release: the release's name.
        namespace: the release's namespace; made when missing.
        values: what differs from the chart's own values.

    Returns:
        The rendered manifest.

    Raises:
        ChartRefused: rendering or applying failed; the message is Helm's.
    """
    try:
        with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
            installed = {one["name"] for one in config.list(all_states=True)}
            if release in installed:
                done = config.upgrade(chart, release, dict(values or {}), namespace=namespace)
            else:
                done = config.install(chart, release, dict(values or {}), namespace=namespace, create_namespace=True)
    except helm_python.HelmError as error:
        raise ChartRefused(f"chart {chart} as release {release}: {error}") from error
    return str(done.get("manifest", ""))


def uninstall_chart(kubeconfig: Path, release: str, namespace: str) -> None:
    """Remove a release; nothing happens when there is none.

    Raises:
        ChartRefused: Helm could not remove it.
    """
    try:
        with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
            config.uninstall(release, ignore_not_found=True)
    except helm_python.HelmError as error:
        raise ChartRefused(f"release {release} in {namespace} could not be removed: {error}") from error
