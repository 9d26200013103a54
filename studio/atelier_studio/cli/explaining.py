"""The verb for when a job has failed or does not go on: explain-failure."""

from __future__ import annotations

import itertools

from atelier_studio.actions.explaining import LOG_LINES, Evidence, explain, find_last_pod
from atelier_studio.cli.options import ContextOption, JobArgument, NamespaceOption
from atelier_studio.cli.output import say
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object, Objects
from atelier_studio.errors import ClusterRefused


def explain_failure(job: JobArgument, namespace: NamespaceOption = None, context: ContextOption = None) -> None:
    """Tell why a job failed or does not go on, what its pods said last, and what to do."""
    cluster = Cluster(namespace, context)
    for line in explain(gather_evidence(cluster, job)):
        say(line)


def gather_evidence(cluster: Cluster, job: str) -> Evidence:
    """Read everything that the cluster still holds about a job.

    Raises:
        NotFound: there is no such job. Whatever else cannot be read is left out: half an explanation is one.
    """
    body = cluster.get(TRAINING_JOB, job)
    try:
        pods = cluster.pods(job)
    except ClusterRefused:
        pods = []
    last = find_last_pod(pods)
    events = list(itertools.chain.from_iterable(_read_events(cluster, one) for one in (body, last) if one))
    return Evidence(body, pods, events, _read_log(cluster, last))


def _read_events(cluster: Cluster, body: Object) -> Objects:
    try:
        return [event for event in cluster.events(body["metadata"]["uid"]) if event.get("type") != "Normal"]
    except ClusterRefused:
        return []


def _read_log(cluster: Cluster, pod: Object | None) -> list[str]:
    if pod is None:
        return []
    try:
        return list(cluster.pod_log(pod["metadata"]["name"], tail_lines=LOG_LINES))
    except ClusterRefused:
        return []
