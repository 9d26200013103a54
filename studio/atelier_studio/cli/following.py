"""The verbs that follow a job while it runs: watch and logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from atelier_contract import names
from atelier_contract.roles import Role
from atelier_studio.actions import describing, tables, watching
from atelier_studio.actions.refusals import propose
from atelier_studio.cli.options import ContextOption, JobArgument, NamespaceOption
from atelier_studio.cli.output import say, say_aside
from atelier_studio.edges.cluster import TRAINING_JOB, Cluster, Object
from atelier_studio.errors import BadRequest, ClusterRefused, Exit, find_page

if TYPE_CHECKING:
    from atelier_studio.cli.live_view import LiveView

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pod ends.")]
PreviousOption = Annotated[bool, typer.Option("--previous", "-p", help="The attempt before the last one.")]
PodOption = Annotated[str | None, typer.Option("--pod", help="A certain pod of the job, by name.")]
RoleOption = Annotated[Role | None, typer.Option("--role", help="What the pod is for. Default: train.")]
TailOption = Annotated[int | None, typer.Option("--tail", help="Begin so many lines before the end. Default: all.")]
START_SECONDS = 600
"""How long `logs -f` waits for a pod to start: a large image on a slow registry takes ten minutes."""


def watch(job: JobArgument, namespace: NamespaceOption = None, context: ContextOption = None) -> None:
    """Follow a job, live on a terminal, until it waits for you, is finalized, or has failed (exit code 1)."""
    looks = Cluster(namespace, context).watch(TRAINING_JOB, job)
    body = watch_live(looks) if sys.stdout.isatty() else watch_plainly(looks)
    status = tables.read_status(body)
    state, message = tables.read_state(status)
    say(f"{state}: {message}" if message else state)
    say(f"next: {describing.name_next_step(job, status)}")
    if state in watching.FAILURES:
        say_aside(f"read on: {find_page(state)}")
        raise typer.Exit(Exit.FAILED)


def watch_plainly(looks: Iterator[Object]) -> Object:
    """Print a line for each thing that is new, and return the job once nothing more happens to it."""
    before = None
    for body in looks:
        status = tables.read_status(body)
        rest = watching.is_at_rest(body, status)
        news = list(watching.list_news(before, status))
        # The last state is told by whoever called, with what to do next.
        for line in [one for one in news if not (rest and one.startswith(tables.read_state(status)[0]))]:
            say(line)
        sys.stdout.flush()
        before = status
        if rest:
            return body
    raise ClusterRefused("the watch has ended before the job did")


def watch_live(looks: Iterator[Object]) -> Object:
    """Show a job in place on a terminal, and return it once nothing more happens to it."""
    from atelier_studio.cli.live_view import LiveView  # noqa: PLC0415  (only a terminal needs it)

    with LiveView() as view:
        return follow_live(looks, view)


def follow_live(looks: Iterator[Object], view: LiveView) -> Object:
    """Hand each look to the view, and return the job once nothing more happens to it."""
    for body in looks:
        status = tables.read_status(body)
        view.show(body, status)
        if watching.is_at_rest(body, status):
            return body
    raise ClusterRefused("the watch has ended before the job did")


def logs(
    job: JobArgument,
    *,
    follow: FollowOption = False,
    previous: PreviousOption = False,
    pod: PodOption = None,
    role: RoleOption = None,
    tail: TailOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Print the log of a job's pod: the newest training pod, unless you name another."""
    cluster = Cluster(namespace, context)
    cluster.get(TRAINING_JOB, job)
    chosen = choose_pod(job, cluster.pods(job), name=pod, role=role, previous=previous)
    name = chosen["metadata"]["name"]
    say_aside(f"# {name} ({chosen['status'].get('phase', 'Unknown')})")
    if follow:
        await_start(cluster, job, chosen)
    for line in cluster.pod_log(name, follow=follow, tail_lines=tail):
        say(line)
        if follow:
            sys.stdout.flush()


def choose_pod(job: str, pods: list[Object], *, name: str | None, role: Role | None, previous: bool) -> Object:
    """Return the pod whose log is wanted.

    Args:
        job: name of the TrainingJob.
        pods: its pods, oldest first.
        name: of the pod, where one is named.
        role: what the pod is for; None: training, if there was any, else whatever there is.
        previous: the one before the last.

    Raises:
        BadRequest: there is no such pod (any more), or it is named in two ways.
    """
    if name and (role or previous):
        raise BadRequest(f"--pod {name} names one pod already: leave {'--role' if role else '--previous'} out")
    if name:
        found = [pod for pod in pods if pod["metadata"]["name"] == name]
        if not found:
            raise BadRequest(f"{job} has no pod {name}: {propose(name, [one['metadata']['name'] for one in pods])}")
        return found[0]
    roles = [pod["metadata"]["labels"].get(names.LABEL_ROLE) for pod in pods]
    wanted = role or (Role.TRAIN if Role.TRAIN in roles else None)
    found = [pod for pod, its in zip(pods, roles, strict=True) if wanted is None or its == wanted]
    if not found:
        what = f"{job} has no {role} pod" if role else f"{job} has no pod"
        raise BadRequest(
            f"{what} now: pods are kept for a day after they end, and their logs with them. What is kept of a failure "
            f"for good is told by `kubectl atelier explain-failure {job}`"
        )
    if previous and len(found) < 2:
        raise BadRequest(f"{job} has had one attempt only: leave --previous out")
    return found[-2 if previous else -1]


def await_start(cluster: Cluster, job: str, pod: Object) -> None:
    """Return once a pod's container has started, or can no more.

    Until then there is nothing to follow: of a pod without a node API servers answer an empty log, as if it were all.

    Raises:
        BadRequest: the pod is gone.
        ClusterRefused: it has not started for too long.
    """
    name, begun = pod["metadata"]["name"], time.monotonic()
    while not has_begun(pod):
        if time.monotonic() - begun > START_SECONDS:
            raise ClusterRefused(
                f"pod {name} has not started for {START_SECONDS // 60} minutes: `kubectl atelier describe {job}` says "
                "what it waits for"
            )
        time.sleep(1)
        pod = choose_pod(job, cluster.pods(job), name=name, role=None, previous=False)


def has_begun(pod: Object) -> bool:
    """Return whether a pod's container has started, or the pod is over."""
    status = pod["status"]
    containers = [one for one in status.get("containerStatuses") or () if one["name"] == names.CONTAINER]
    started = any(one.get("state", {}).keys() & {"running", "terminated"} for one in containers)
    return started or status.get("phase") in {"Succeeded", "Failed"}
