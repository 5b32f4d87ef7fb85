"""A server in place of the master of a Flink or Spark cluster: it stores a job's files and reports it as finished."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator

_ANSWERS = {
    # Flink's REST interface
    "/v1/jars/upload": {"filename": "jars/1_beam.jar"},
    "/v1/jars/1_beam.jar/run": {"jobid": "1"},
    "/v1/jobs/1/execution-result": {"status": {"id": "COMPLETED"}},
    "/v1/jobs/1": {"state": "FINISHED"},
    "/v1/jobs/1/exceptions": {"all-exceptions": []},
    "/v1/jars/1_beam.jar": {},
    # Spark's
    "/v1/submissions/create": {"submissionId": "1"},
    "/v1/submissions/status/1": {"driverState": "FINISHED"},
}


class Master(http.server.ThreadingHTTPServer):
    """Stores the files of the last submitted job."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, jar: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(jar)) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Master

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/jars/upload":
            self.server.take(body)  # a ZIP file may have data around it
        if self.path == "/v1/submissions/create":
            with open(json.loads(body)["appResource"].removeprefix("file:"), "rb") as jar:  # noqa: PTH123
                self.server.take(jar.read())
        self._answer()

    def _answer(self) -> None:
        body = json.dumps(_ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def master() -> Iterator[Master]:
    with Master() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
