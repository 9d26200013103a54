"""What the operator tells of itself to a monitor: bounded labels only, never an object's name.

Counters are counted where things happen; gauges are asked for when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
Gauges = Callable[[], Iterable[GaugeMetricFamily]]


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "atelier_api_calls", "Calls to the API server.", ("verb", "resource"), registry=self.registry
        )
        self._looks = Histogram(
            "atelier_reconcile_seconds",
            "Time of one look at an object.",
            ("kind",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "atelier_reconcile_errors", "Looks that ended in an error.", ("kind", "error"), registry=self.registry
        )
        self._events = Counter("atelier_watch_events", "Events received.", ("resource",), registry=self.registry)

    def count_call(self, verb: str, resource: str) -> None:
        """Count a call to the API server."""
        self._calls.labels(verb, resource).inc()

    def count_look(self, kind: str, seconds: float) -> None:
        """Count a look at an object, and how long it took."""
        self._looks.labels(kind).observe(seconds)

    def count_error(self, kind: str, error: str) -> None:
        """Count a look that ended in an error, by the error's class."""
        self._errors.labels(kind, error).inc()

    def count_event(self, resource: str) -> None:
        """Count an event of a watch."""
        self._events.labels(resource).inc()

    def add_gauges(self, gauges: Gauges) -> None:
        """Ask this for gauges whenever somebody looks."""
        self.registry.register(_AskedGauges(gauges))

    def to_text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _AskedGauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._gauges()


def build_gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    """Return a gauge with a value for each combination of labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
