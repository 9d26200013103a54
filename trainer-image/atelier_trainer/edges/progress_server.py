"""What a training pod serves: /progress for the operator, /metrics for a monitor, /healthz.

Read-only, without a token: a NetworkPolicy says who may ask. It answers from memory and in a thread of its own, so that
asking never slows a step down, and training goes on whether anyone asks or not.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from atelier_contract import names
from atelier_contract.progress import ProgressReport

log = logging.getLogger(__name__)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Current = Callable[[], ProgressReport]


class ProgressCollector(Collector):
    """The current report as Prometheus gauges."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge for each number that is known."""
        report = self._current()
        numbers = {
            "step": (report.step, "Optimiser steps done."),
            "total_steps": (report.total_steps, "Optimiser steps of the run."),
            "epoch": (report.epoch, "Passes over the dataset."),
            "loss": (report.loss, "Mean training loss of the last 50 steps."),
            "images_per_second": (report.images_per_second, "Pictures trained on in a second."),
            "remaining_seconds": (report.remaining_seconds, "Expected time to the last step."),
            "checkpoints": (len(report.checkpoints), "Checkpoints whole in the store."),
        }
        for name, (value, text) in numbers.items():
            if value is not None:
                yield GaugeMetricFamily(f"atelier_training_{name}", text, value=value)
        phases = GaugeMetricFamily("atelier_training_phase_seconds", "Time spent in a phase.", labels=["phase"])
        for phase, seconds in report.phase_seconds.items():
            phases.add_metric([phase], seconds)
        yield phases


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, current: Current) -> None:
        if address and ipaddress.ip_address(address).version == 6:
            self.address_family = socket.AF_INET6
        self.current = current
        self.registry = CollectorRegistry()
        self.registry.register(ProgressCollector(current))
        super().__init__((address, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = names.PROGRESS_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == names.PROGRESS_PATH:
            self._answer(HTTPStatus.OK, "application/json", self.server.current().to_bytes())
        elif path == names.METRICS_PATH:
            self._answer(HTTPStatus.OK, METRICS_TYPE, generate_latest(self.server.registry))
        elif path == names.HEALTH_PATH:
            self._answer(HTTPStatus.OK, "text/plain", b"ok\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gives
        log.debug(format, *args)


@contextmanager
def serve_progress(address: str, current: Current, port: int = names.PROGRESS_PORT) -> Iterator[int]:
    """Serve on an address for as long as the block runs; yield the port.

    An address that cannot be listened on is a warning: progress is a comfort, the run is not.
    """
    try:
        server = _Server(address, port, current)
    except OSError as error:
        log.warning("progress is not served on %s:%s: %s", address, port, error)
        yield 0
        return
    thread = threading.Thread(target=server.serve_forever, name="progress", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
