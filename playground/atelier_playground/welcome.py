"""What a person finds in a cluster that is left up: a base model in the store, and a file for the shell.

In comes a running cluster; out goes `activate`, which puts kubectl, its plugin and the cluster into a shell. It may not
know how the cluster was started.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from atelier_playground.cluster import CHECKOUT, PREFIX, Cluster

BASE_MODEL = CHECKOUT / "playground" / "base-model" / "weights"
BASE_MODEL_PATH = "base-models/tiny"
"""`spec.baseModel.source.storage.path` of the playground's base model."""


def furnish(cluster: Cluster, namespace: str) -> Path:
    """Put the base model into a namespace's store and write the file for the shell. Returns its path."""
    cluster.upload_folder(BASE_MODEL, f"{PREFIX}/{namespace}/{BASE_MODEL_PATH}")
    kubeconfig = write_kubeconfig(cluster.kubeconfig, namespace, cluster.directory / "kubeconfig")
    return write_activation(cluster.directory / "activate", kubeconfig)


def write_kubeconfig(given: Path, namespace: str, path: Path) -> Path:
    """Write a kubeconfig like a given one whose contexts are in a namespace, for its owner's eyes. Returns its path."""
    document = json.loads(given.read_text(encoding="utf-8"))
    for context in document["contexts"]:
        context["context"]["namespace"] = namespace
    path.touch(mode=0o600)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_activation(path: Path, kubeconfig: Path) -> Path:
    """Write the file that puts kubectl, its plugin and a cluster into a shell. Returns its path."""
    programs = Path(sys.prefix) / "bin"
    path.write_text(
        "# source this file: kubectl, kubectl atelier and the playground's cluster, in this shell\n"
        f"export KUBECONFIG={shlex.quote(str(kubeconfig))}\n"
        f'export PATH={shlex.quote(str(programs))}:"$PATH"\n',
        encoding="utf-8",
    )
    return path
