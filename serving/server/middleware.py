"""ASGI middleware of the server, and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from http import HTTPStatus
from urllib.parse import quote

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
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACCESS_LOG = "tumbao.access"  # logger of requests: method, path, status and seconds, and no other data of the client

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'self'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "worker-src 'self' blob:",
            "connect-src 'self' blob: data:",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    ),
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Default headers of every response; opener and embedder policy enable threads in WebAssembly."""

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


_METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_log = logging.getLogger(ACCESS_LOG)


class ServerMiddleware:
    """ASGI middleware for the path prefix, response headers, access log and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics, root_path: str) -> None:
        self._app, self._metrics, self._root_path = app, metrics, root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, method = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR), scope["method"]
        scope = {**scope, "root_path": self._root_path}
        if method == "HEAD":  # FastAPI's routes answer GET only; the HTTP server leaves the body out
            scope["method"] = "GET"

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            method = method if method in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "/")
            self._metrics.requests.labels(method, route, str(status)).inc()
            _log.info("%s %s %d %.3f s", method, quote(scope["path"]), status, time.monotonic() - started)


DRAIN_SECONDS = 2.0
"""How long the body is read and dropped after the answer.

A client that is disconnected while it sends may not receive the answer.
"""


class CloseUnreadRequests:
    """ASGI middleware for an application that may answer without reading the whole request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def drain() -> None:
            while unread:
                await receive_and_note()

        async def send_and_drain(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(drain(), DRAIN_SECONDS)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, receive_and_note, send_and_drain)
