"""Middleware for every request: the proxy's path prefix, response headers, access log and metrics."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tumbao.serving.server.metrics import Metrics

ACCESS_LOG = "tumbao.access"
"""Logger of requests: method, path, status and seconds, and no other data of the client."""

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

_METHODS = ("GET", "HEAD", "OPTIONS", "POST")
_log = logging.getLogger(ACCESS_LOG)


class Surroundings:
    """ASGI middleware with all of these.

    `root_path` is the prefix of a reverse proxy, such as `/tumbao`, whether or not the proxy strips it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, root_path: str = "") -> None:
        self._app, self._metrics, self._root_path = app, metrics, root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope = self._behind_proxy(scope)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            path = getattr(scope.get("route"), "path", "/")
            self._metrics.requests.labels(method, path, str(status)).inc()
            _log.info("%s %s %d %.3f s", method, quote(scope["path"]), status, time.monotonic() - began)

    def _behind_proxy(self, scope: Scope) -> Scope:
        root, path = self._root_path, scope["path"]
        if not root:
            return scope
        return {**scope, "root_path": root, "path": path if f"{path}/".startswith(f"{root}/") else root + path}
