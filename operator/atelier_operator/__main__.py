"""`python -m atelier_operator`: joins the parts, takes the Lease, and runs until told to stop.

Ends with 0 when asked to (the Lease is given back), with 1 when the Lease or a part is lost: the Deployment starts it
again, and everything it needs to know is in the cluster.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import kopf
from prometheus_client.core import GaugeMetricFamily

from atelier_contract.dataset import KIND as DATASET
from atelier_contract.training_job import KIND as TRAINING_JOB
from atelier_operator import handlers, queue
from atelier_operator.audit import Auditor
from atelier_operator.cache import Cache
from atelier_operator.edges import clock
from atelier_operator.edges.actions import Actor
from atelier_operator.edges.cluster import ApiServer, Cluster
from atelier_operator.edges.connection import Credentials, connect, read_credentials
from atelier_operator.edges.lease import Lease, LeaseClocks
from atelier_operator.edges.metrics import Metrics, build_gauge
from atelier_operator.edges.progress import ProgressClient, ProgressSource, open_session
from atelier_operator.edges.resources import Resource
from atelier_operator.edges.web import Verdicts, serve_web
from atelier_operator.errors import OperatorError
from atelier_operator.model import Json
from atelier_operator.observe import Observer
from atelier_operator.plan import decide_dataset, decide_training_job
from atelier_operator.polling import Poller
from atelier_operator.reconcile import Decide, Parts, Reconciler
from atelier_operator.settings import Settings, read_settings

LATE_SECONDS = 60.0
"""A key that has been due for so long says that the loop stands still."""
SILENT_SECONDS = 120.0
"""A standby that could not read the Lease for so long may have lost its credentials: a restart reads them anew."""
_FILL_PAUSE_SECONDS = 2.0

_logger = logging.getLogger("atelier_operator")
DECIDERS: Mapping[str, Decide] = {DATASET: decide_dataset.decide, TRAINING_JOB: decide_training_job.decide}


@dataclass(frozen=True)
class Work:
    """The parts that act, and are therefore idle until the Lease is held."""

    due: queue.Queue
    auditor: Auditor
    reconciler: Reconciler
    poller: Poller
    registry: kopf.OperatorRegistry


def main() -> int:
    """Run the operator; returns the process's exit code."""
    try:
        settings = read_settings()
        set_up_logging(settings.log_level)
        asyncio.run(run(settings))
    except OperatorError as error:
        _logger.error("ended: %s", error)  # noqa: TRY400  # the message says it all, a trace would hide it
        return 1
    except Exception:
        _logger.exception("ended: a part of the operator failed")
        return 1
    return 0


async def run(settings: Settings) -> None:
    """Run one operator until it is asked to stop.

    Raises:
        SettingsInvalid: there is no API server to speak to.
        LeaseLost: another operator acts now.
    """
    metrics = Metrics()
    stop = asyncio.Event()
    take_signals(stop)
    async with await connect(settings.kubeconfig) as client, open_session() as session:
        cluster = ApiServer(client, metrics)
        progress = ProgressClient(session, clock.read_now)
        work = build_work(settings, cluster, metrics, progress, lambda: read_credentials(client))
        clocks = LeaseClocks(clock.read_steady_seconds, clock.read_now)
        lease = Lease(cluster, settings.operator_namespace, settings.lease_name, settings.identity, clocks)
        verdicts = Verdicts(lambda: find_illness(work, lease), lambda: find_unreadiness(work, lease))
        metrics.add_gauges(lambda: collect_gauges(work, lease))
        async with serve_web(settings.host, settings.port, metrics, verdicts) as port:
            _logger.info("port=%d identity=%s image=%s started", port, settings.identity, settings.trainer_image)
            try:
                await run_until_first(hold_and_work(settings, lease, work, stop), stop.wait())
            finally:
                work.poller.stop()
                if lease.held:
                    await lease.release()
                _logger.info("identity=%s stopped", settings.identity)


def build_work(
    settings: Settings,
    cluster: Cluster,
    metrics: Metrics,
    progress: ProgressSource,
    log_in: Callable[[], Awaitable[Credentials]],
) -> Work:
    """Join the parts that act."""
    cache, due = Cache(), queue.Queue(clock.read_steady_seconds)
    poller = Poller(progress, due.mark)
    auditor = Auditor(cluster, cache, due, settings.namespaces, clock.read_steady_seconds)
    parts = Parts(
        cluster=cluster,
        cache=cache,
        queue=due,
        observer=Observer(cluster, cache, settings, clock.read_now),
        actor=Actor(cluster, cache, clock.read_now),
        poller=poller,
        metrics=metrics,
        deciders=DECIDERS,
        now=clock.read_now,
        steady_seconds=clock.read_steady_seconds,
    )

    def take(resource: Resource, body: Json, gone: bool) -> None:  # handlers.Take
        metrics.count_event(resource.plural)
        auditor.note_news(resource.kind)
        for key in cache.take(resource.kind, body, gone=gone):
            due.mark(key)

    return Work(due, auditor, Reconciler(parts), poller, handlers.build_registry(take, log_in))


def take_signals(stop: asyncio.Event) -> None:
    """Let the two signals that ask for an end set `stop`."""
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)


async def hold_and_work(settings: Settings, lease: Lease, work: Work, stop: asyncio.Event) -> None:
    """Take the Lease, and act for as long as it is held."""
    await lease.acquire()
    await run_until_first(lease.keep(), act(settings, work, stop))


async def act(settings: Settings, work: Work, stop: asyncio.Event) -> None:
    """Fill the cache, then watch, look and compare until one of them fails."""
    while not work.auditor.filled:
        try:
            await work.auditor.fill()
        except OperatorError as error:
            _logger.warning("cache not filled: %s; are the CRDs and the role installed?", error)
            await asyncio.sleep(_FILL_PAUSE_SECONDS)
    looks = queue.serve(work.due, work.reconciler.look, settings.concurrency)
    await run_until_first(watch(settings, work.registry, stop), looks, work.auditor.repeat())


async def watch(settings: Settings, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """Let Kopf bring events, for ever."""
    existing = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=handlers.build_settings(),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
    # Kopf has just taken the signals; it would end in an error when one arrives while it starts.
    take_signals(stop)
    await kopf.run_tasks(tasks, ignored=existing)


async def run_until_first(*parts: Coroutine[Any, Any, object]) -> None:
    """Run all until the first ends, end the others, and raise what that one raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def find_illness(work: Work, lease: Lease) -> str:
    """Return why the operator should be restarted; empty: it is well."""
    if not lease.held:
        silent_seconds = clock.read_steady_seconds() - lease.reached_at
        return f"the Lease could not be read for {silent_seconds:.0f} s" if silent_seconds > SILENT_SECONDS else ""
    late_seconds = work.due.oldest_lateness_seconds()
    if late_seconds > LATE_SECONDS:
        return f"an object has been due for {late_seconds:.0f} s"
    dead = work.auditor.find_dead()
    return f"the watch of {', '.join(dead)} loses events" if dead else ""


def find_unreadiness(work: Work, lease: Lease) -> str:
    """Return why the operator is not ready; empty: it acts, or stands by to."""
    return "the cache is being filled" if lease.held and not work.auditor.filled else ""


def collect_gauges(work: Work, lease: Lease) -> Iterable[GaugeMetricFamily]:
    """Yield every gauge."""
    yield build_gauge("atelier_lease_held", "1: this operator acts.", {(): float(lease.held)})
    yield build_gauge("atelier_queue_depth", "Objects due now.", {(): float(work.due.depth())})
    late_seconds = work.due.oldest_lateness_seconds()
    yield build_gauge("atelier_queue_lateness_seconds", "Age of the oldest due object.", {(): late_seconds})
    yield from work.reconciler.collect_gauges()
    yield from work.auditor.collect_gauges()


def set_up_logging(level: int) -> None:
    """Write one line of text for each message to standard error.

    The level is that of our own words. Libraries speak only when something is wrong: what they say when asked for
    details holds whole requests, and with them users' prompts.
    """
    text = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=text, stream=sys.stderr)
    _logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
