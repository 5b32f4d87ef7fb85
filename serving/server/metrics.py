"""What the server tells Prometheus."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

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

STEPS = ("upload", "wait", "decode", "model")
"""What takes time: to receive a request's files; to wait for a turn; to decode a file; to ask the model."""

disable_created_metrics()  # else each count has a second line: since when it has been counted

_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """Counters, gauges and histograms of one server.

    Attributes
    ----------
    requests : Counter
        By method, path as the API document has it, and status.
    files : Counter
        Files by outcome: answered, or the reason why not.
    errors : Counter
        Requests that were refused as a whole, by reason.
    seconds : Histogram
        By step, see `STEPS`.
    accepted : Gauge
        Requests that are being received, wait or are worked on.
    working : Gauge
        Requests that are worked on.
    loads : Counter
        Models by outcome: loaded, refused.
    model : Gauge
        1 for the version that answers.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = self._counter("requests", "Requests", "method", "path", "status")
        self.files = self._counter("files", "Files by outcome", "outcome")
        self.errors = self._counter("errors", "Requests refused as a whole, by reason", "reason")
        self.loads = self._counter("model_loads", "Models that were loaded or refused", "outcome")
        self.seconds = Histogram(
            "tumbao_step_seconds", "Seconds by step", ["step"], buckets=_BUCKETS, registry=self._registry
        )
        self.accepted = self._gauge("requests_accepted", "Requests being received, waiting or worked on")
        self.working = self._gauge("requests_working", "Requests being worked on")
        self.model = self._gauge("model_info", "The version that answers", "version", "model")

    def text(self) -> bytes:
        """Write them.

        Returns
        -------
        text : bytes
            In the format that `content_type` names.
        """
        return generate_latest(self._registry)

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Measure a step, however it ends.

        Parameters
        ----------
        step : str
            One of `STEPS`.

        Yields
        ------
        None
            While it lasts.
        """
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds.labels(step).observe(time.monotonic() - began)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tumbao_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"tumbao_{name}", text, labels, registry=self._registry)
