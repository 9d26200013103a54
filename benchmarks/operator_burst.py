"""500 TrainingJobs created at once, with no node to run anything: how fast, how big and how chatty the operator is.

Everything but the nodes is real: API server, controller manager, the chart's CRDs, roles and admission policies, and
the operator as a process of its own under the chart's service account. The dataset's inspection is answered by hand, as
its pod would have. Prints a table and writes `benchmarks/results/operator-burst.json`.

Times run from the moment this process sent its create call to the moment its own watch showed the child, so they hold
the API server's share of the work too: on two cores that is most of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp
from figures import ROOT, write_figures
from kubernetes.aio.client.api_client import ApiClient
from prometheus_client.parser import text_string_to_metric_families

from atelier_contract import names
from atelier_contract.dataset import KIND as DATASET
from atelier_contract.reasons import Reason
from atelier_contract.roles import Role
from atelier_contract.termination import InspectionResult, TerminationReport
from atelier_contract.training_job import KIND as TRAINING_JOB
from atelier_operator.edges.cluster import ApiServer
from atelier_operator.edges.connection import connect
from atelier_operator.edges.metrics import Metrics
from atelier_operator.edges.resources import DATASETS, JOBS, PODS, SELECTOR, TRAINING_JOBS, Resource
from atelier_playground.api import Api, read_conditions, wait_for
from atelier_playground.binaries import build_control_plane
from atelier_playground.chart import install_chart
from atelier_playground.controlplane import ControlPlane

SYSTEM = "atelier-system"
TEAM = "team"
TRAINER_IMAGE = "atelier/trainer"
ALONE = 20
"""Jobs created one after the other, each when the last one's child was seen."""
CREATORS = 32
WRITES = ("create", "update", "patch", "delete")
QUIET_SECONDS = 5.0
"""The burst is over when nothing was written for so long."""

Json = dict[str, Any]


@dataclass
class Sightings:
    """When what was first seen, by the TrainingJob's name and this process's steady clock."""

    asked: dict[str, float] = field(default_factory=dict)
    child: dict[str, float] = field(default_factory=dict)
    state: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, resource: Resource, body: Json) -> None:
        """Note an event of a watch."""
        now, metadata = time.monotonic(), body["metadata"]
        if resource is JOBS:
            self.child.setdefault(metadata["labels"][names.LABEL_OWNER], now)
        elif any(c["type"] == "Ready" for c in body.get("status", {}).get("conditions", ())):
            self.state.setdefault(metadata["name"], now)
        self.changed.set()

    async def wait_for(self, wanted: set[str], timeout_seconds: float) -> None:
        """Wait until each of these has its child and a state.

        Raises:
            TimeoutError: with what is missing.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not (wanted <= self.child.keys() and wanted <= self.state.keys()):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            lacks = f"{len(wanted - self.child.keys())} children and {len(wanted - self.state.keys())} states"
            raise TimeoutError(f"{lacks} of {len(wanted)} are missing after {timeout_seconds:.0f} s") from None

    def reactions(self, wanted: set[str]) -> list[float]:
        """Return the seconds from asking to the child, of each of these."""
        return [self.child[name] - self.asked[name] for name in wanted]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(prefix="atelier-burst-") as directory:
        plane = ControlPlane(build_control_plane(print), Path(directory))
        plane.start()
        try:
            kubeconfig = prepare(plane)
            with run_operator(kubeconfig, Path(directory)) as operator:
                figures = asyncio.run(measure(plane, operator, jobs))
        finally:
            plane.stop()
    print(f"written to {write_figures('operator-burst', figures).relative_to(ROOT)}")
    return 0


def prepare(plane: ControlPlane) -> Path:
    """Install the chart without any operator of its own, and return a kubeconfig of its service account."""
    install_chart(plane.kubeconfig, ROOT / "charts" / "atelier", "atelier", SYSTEM, {"operator": {"replicas": 0}})
    api = Api(plane.kubeconfig)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM, "labels": labels}})
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/atelier/token"
    token = api.request("POST", path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
    document = json.loads(plane.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    kubeconfig = plane.directory / "operator.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(document))
    return kubeconfig


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    pid: int
    port: int


@contextlib.contextmanager
def run_operator(kubeconfig: Path, directory: Path) -> Iterator[Operator]:
    """Run the operator as a process of its own."""
    port = 18081
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        names.ENV_POD_NAME: "burst",
        names.ENV_POD_NAMESPACE: SYSTEM,
        names.ENV_POD_IP: "127.0.0.1",
        names.ENV_OPERATOR_PORT: str(port),
        names.ENV_LEASE_NAME: "atelier",
        names.ENV_TRAINER_IMAGE: TRAINER_IMAGE,
        names.ENV_LOG_LEVEL: "WARNING",
    }
    log = directory / "operator.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "atelier_operator"], env=environment, stderr=output)
    try:
        yield Operator(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        sys.stderr.write(log.read_text()[-4000:])


async def measure(plane: ControlPlane, operator: Operator, jobs: int) -> dict[str, float | int | str]:
    """Run the benchmark and return its figures."""
    async with await connect(str(plane.kubeconfig)) as client, aiohttp.ClientSession() as web:
        cluster = ApiServer(client, Metrics())
        await answer_inspection(plane, cluster)
        seen = Sightings()
        watches = [asyncio.create_task(follow(client, cluster, kind, seen)) for kind in (JOBS, TRAINING_JOBS)]
        alone = {f"alone-{number}" for number in range(ALONE)}
        for name in sorted(alone):
            await create(cluster, seen, name)
            await seen.wait_for({name}, 30)
        await wait_until_quiet(web, operator)
        before, cpu_before = await count_writes(web, operator), read_cpu_seconds(operator.pid)
        burst = {f"burst-{number}" for number in range(jobs)}
        busy = os.getloadavg()[0]
        started_at = time.monotonic()
        await create_all(cluster, seen, sorted(burst))
        created_at = time.monotonic()
        await seen.wait_for(burst, 120)
        all_at = max(*(seen.child[name] for name in burst), *(seen.state[name] for name in burst))
        await wait_until_quiet(web, operator)
        writes = await count_writes(web, operator) - before
        cpu_seconds = read_cpu_seconds(operator.pid) - cpu_before
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    reactions, quiet = seen.reactions(burst), seen.reactions(alone)
    return {
        "jobs": jobs,
        "load_average_before": round(busy, 1),
        "seconds_to_create": round(created_at - started_at, 2),
        "seconds_to_all_children": round(all_at - started_at, 2),
        "reaction_p50_seconds": round(percentile(reactions, 50), 3),
        "reaction_p99_seconds": round(percentile(reactions, 99), 3),
        "reaction_alone_p50_seconds": round(percentile(quiet, 50), 3),
        "reaction_alone_p99_seconds": round(percentile(quiet, 99), 3),
        "writes_per_job": round(writes / jobs, 2),
        "operator_cpu_ms_per_job": round(1000 * cpu_seconds / jobs, 1),
        "rss_mib": round(read_peak_mib(operator.pid), 1),
    }


async def answer_inspection(plane: ControlPlane, cluster: ApiServer) -> None:
    """Make a dataset, and end its inspection's pod as the node would have, with the words of a good inspection."""
    api = Api(plane.kubeconfig)
    metadata = {"name": "teapots", "namespace": TEAM}
    body = {"apiVersion": names.API_VERSION, "kind": DATASET, "metadata": metadata, "spec": {"source": {"upload": {}}}}
    await cluster.create(DATASETS, TEAM, body)
    pod = await asyncio.to_thread(wait_for, lambda: api.list("v1", "Pod", TEAM, SELECTOR), "the inspection's pod")
    result = InspectionResult(revision="ab" * 32, items=24, captioned=24, bytes=1_000_000, report_key="r.json")
    words = TerminationReport(role=Role.INSPECT, reason=Reason.COMPLETED, inspection=result)
    ended = {"exitCode": 0, "reason": "Completed", "message": words.to_message()}
    status = {"name": names.CONTAINER, "state": {"terminated": ended}, "ready": False, "restartCount": 0}
    patch = {"status": {"phase": "Succeeded", "containerStatuses": [{**status, "image": "x", "imageID": "x"}]}}
    path = PODS.path(TEAM, pod[0]["metadata"]["name"], "status")
    await asyncio.to_thread(api.request, "PATCH", path, patch, "application/merge-patch+json")

    def is_ready() -> bool:
        return read_conditions(api.get(names.API_VERSION, DATASET, "teapots", TEAM)).get("Ready") == "True"

    await asyncio.to_thread(wait_for, is_ready, "the dataset is Ready")


async def create(cluster: ApiServer, seen: Sightings, name: str) -> None:
    """Create one TrainingJob."""
    spec = {
        "modelName": f"teapot {name}",
        "datasetRef": {"name": "teapots"},
        "baseModel": {"architecture": "StableDiffusion1", "source": {"storage": {"path": "base-models/tiny"}}},
        "conceptModel": {"captionPrefix": "TKXW"},
    }
    metadata = {"name": name, "namespace": TEAM}
    seen.asked[name] = time.monotonic()
    body = {"apiVersion": names.API_VERSION, "kind": TRAINING_JOB, "metadata": metadata, "spec": spec}
    await cluster.create(TRAINING_JOBS, TEAM, body)


async def create_all(cluster: ApiServer, seen: Sightings, wanted: list[str]) -> None:
    """Create many TrainingJobs, as fast as the API server takes them."""
    gate = asyncio.Semaphore(CREATORS)

    async def create_one(name: str) -> None:
        async with gate:
            await create(cluster, seen, name)

    await asyncio.gather(*(create_one(name) for name in wanted))


async def follow(client: ApiClient, cluster: ApiServer, resource: Resource, seen: Sightings) -> None:
    """Note every object of a kind, for ever. The API server ends watches that lag behind, so they are begun anew."""
    selector = f"{SELECTOR},{names.LABEL_KIND}={TRAINING_JOB}" if resource is JOBS else ""
    while True:
        token, version = "", ""
        while not version or token:
            page = await cluster.read_page(resource, TEAM, selector=selector, token=token)
            token, version = page.next_token, page.resource_version
            for body in page.items:
                seen.note(resource, body)
        async for event in watch(client, resource, selector, version):
            if event["type"] == "ERROR":
                break
            seen.note(resource, event["object"])


async def watch(client: ApiClient, resource: Resource, selector: str, version: str) -> AsyncIterator[Json]:
    """Yield the events of a kind in the team's namespace since a version."""
    query = [("watch", "true"), ("labelSelector", selector), ("resourceVersion", version)]
    method, url, headers, _, _ = await client.param_serialize(
        "GET", resource.path(TEAM), query_params=query, auth_settings=["BearerToken"]
    )
    answer = await client.call_api(method, url, headers, _request_timeout=3000)
    async for line in answer.response.content:
        yield json.loads(line)


async def count_writes(web: aiohttp.ClientSession, operator: Operator) -> int:
    """Return how often the operator has written to the API server, its Lease aside."""
    async with web.get(f"http://127.0.0.1:{operator.port}{names.METRICS_PATH}") as answer:
        text = await answer.text()
    total = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "atelier_api_calls_total" and labels["resource"] != "leases" and labels["verb"] in WRITES:
                total += sample.value
    return int(total)


async def wait_until_quiet(web: aiohttp.ClientSession, operator: Operator) -> None:
    """Wait until the operator has written nothing for a while."""
    known, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        writes = await count_writes(web, operator)
        if writes != known:
            known, since = writes, time.monotonic()
        await asyncio.sleep(0.5)


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of some values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def read_peak_mib(pid: int) -> float:
    """Return the most memory a process has held at once, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} shows no VmHWM")


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
