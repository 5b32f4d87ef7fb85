"""Prometheus metrics of the server."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # otherwise each counter has a second line with its creation time

_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """Counters, gauges and histograms of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = self._counter("requests", "Requests", "method", "path", "status")
        self.files = self._counter("files", "Files by outcome", "outcome")
        self.errors = self._counter("errors", "Failed requests, by reason", "reason")
        self.loads = self._counter("model_loads", "Models loaded or refused", "outcome")
        self.seconds = Histogram(
            "tumbao_step_seconds", "Seconds by step", ["step"], buckets=_BUCKETS, registry=self._registry
        )
        self.accepted = self._gauge("requests_accepted", "Requests being received, waiting or processed")
        self.working = self._gauge("requests_working", "Requests being processed")
        self.model = self._gauge("model_info", "The current model", "version", "model")

    def text(self) -> bytes:
        """Return the metrics in the format of `content_type`."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tumbao_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"tumbao_{name}", text, labels, registry=self._registry)
