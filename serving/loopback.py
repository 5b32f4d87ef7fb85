"""A server for one page in one browser on this machine: it serves files and inputs and collects messages."""

from __future__ import annotations

import contextlib
import functools
import mimetypes
import queue
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}
"""Headers of every response; the first two enable threads in WebAssembly."""


class Told(NamedTuple):
    """A request of the page.

    `what` is the path without the slash. A POST also has the query (`how`) and the body (`content`).
    """

    what: str
    how: str
    content: bytes


class Loopback:
    """A server on 127.0.0.1, on a port chosen by the system.

    `files` maps paths without the slash to content; nothing else is served. Each GET of `input` waits for an element of
    `inputs`; `told` receives the requests in order.
    """

    def __init__(self, files: Mapping[str, Path | bytes]) -> None:
        self.files = files
        self.inputs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Serve until the context ends; yields the address, such as `http://127.0.0.1:12345/`."""
        with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                self.inputs.put(b"")  # releases a waiting request
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, loopback: Loopback, *arguments: object) -> None:
        self.loopback = loopback
        with contextlib.suppress(ConnectionError):  # the browser was killed
            super().__init__(*arguments)  # type: ignore[arg-type] # arguments of the server

    def do_GET(self) -> None:
        what = self.path[1:]
        self.loopback.told.put(Told(what, "", b""))
        found = self.loopback.inputs.get() if what == "input" else self.loopback.files.get(what)
        content = found.read_bytes() if isinstance(found, Path) else found
        self._respond(HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK, content or b"")

    def do_POST(self) -> None:
        what, _, how = self.path[1:].partition("?")
        self.loopback.told.put(Told(what, how, self.rfile.read(int(self.headers["Content-Length"]))))
        self._respond(HTTPStatus.OK, b"")

    def _respond(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response(status)
        kind = mimetypes.guess_type(self.path)[0] if self.path != "/" else "text/html"
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Suppress the log."""
