"""Helm releases in a playground: installed, upgraded and removed as a user would, without the `helm` program.

Each action runs in a process of its own (this module is also what that process runs): Helm's library is a Go runtime
with threads, signal handlers and a mind of its own about the terminal, none of which belongs into its caller.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    return _run_helm(kubeconfig, namespace, release=release, chart=str(chart), values=dict(values or {}))


def uninstall_chart(kubeconfig: Path, release: str, namespace: str) -> None:
    """Remove a release; nothing happens when there is none.

    Raises:
        ChartRefused: Helm could not remove it.
    """
    _run_helm(kubeconfig, namespace, release=release, chart=None, values={})


def _run_helm(kubeconfig: Path, namespace: str, **action: Any) -> str:
    request = json.dumps({"kubeconfig": str(kubeconfig), "namespace": namespace, **action})
    command = [sys.executable, "-m", "atelier_playground.chart"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()}
    if "error" in answer:
        raise ChartRefused(f"release {action['release']} in {namespace}: {answer['error']}")
    return str(answer["manifest"])


def _act(request: dict[str, Any]) -> dict[str, Any]:
    import helm_python  # noqa: PLC0415  # the library is for the child process alone

    release, chart, namespace = request["release"], request["chart"], request["namespace"]
    try:
        with helm_python.Config(kubeconfig_path=request["kubeconfig"], namespace=namespace) as config:
            if chart is None:
                config.uninstall(release, ignore_not_found=True)
                return {"manifest": ""}
            if release in {one["name"] for one in config.list(all_states=True)}:
                done = config.upgrade(chart, release, request["values"], namespace=namespace)
            else:
                done = config.install(chart, release, request["values"], namespace=namespace, create_namespace=True)
    except helm_python.HelmError as error:
        return {"error": str(error)}
    return {"manifest": done.get("manifest", "")}


if __name__ == "__main__":
    print(json.dumps(_act(json.load(sys.stdin))))
